"""The check of what a plugin says about itself, of algorithms and of suites."""

from __future__ import annotations

import inspect
from functools import partial

from metabench.errors import NotApplicableError
from metabench.registry.docstrings import arguments_of
from metabench.testing.cases import Case
from metabench.testing.checks import Check, FailureError, where
from metabench.testing.suite_task_checks import SuiteCase


def parameters_explained(case: Case | SuiteCase) -> None:
    """Every keyword parameter is explained in the factory's docstring, under `Args:`.

    The names in the signature are compared with the entries `name: text` of that section.
    Why: `metabench list NAME`, the gallery and the error for a value that does not fit show that text, and nothing
    else tells a user what a parameter does.
    Typical causes: no `Args:` section, a parameter that was added or renamed later.
    Remedy: one entry a parameter, with its unit and what special values mean; further lines are indented deeper.
    """
    factory = case.factory
    while isinstance(factory, partial):  # where parameters were set by hand
        factory = factory.func
    if factory is None:
        raise NotApplicableError("it is a suite that no plugin registers")
    parameters = inspect.signature(factory).parameters
    names = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]
    if not names:
        raise NotApplicableError("it has no parameters")
    explained = {name for name, text in arguments_of(factory).items() if text}
    if missing := [name for name in names if name not in explained]:
        raise FailureError(f"nothing about {', '.join(missing)}", f"no such entry under `Args:`{where(factory)}")
    if strangers := sorted(explained - parameters.keys()):
        cause = f"a parameter that was renamed or taken out{where(factory)}"
        raise FailureError(f"an explanation of {', '.join(strangers)}, which it does not take", cause)


CHECKS = (Check("parameters-explained", parameters_explained),)
