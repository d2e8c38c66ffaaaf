"""The checks of what a plugin says about its parameters, of algorithms and of suites."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from metabench.errors import NotApplicableError
from metabench.registry.docstrings import arguments_of
from metabench.registry.parameters import signature_of
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
    factory = factory_of(case)
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


def parameters_ranged(case: Case | SuiteCase) -> None:
    """Every parameter that is a number says in its annotation which numbers it may be.

    Why: a negative rate, or zero points, is then refused in one line before anything runs, and
    `metabench list` shows the range.
    Typical causes: `inner_lr: float = 0.01`, `shots: int = 5`.
    Remedy: `Rate` (a float of at least 0), `Positive`, `Share`, `Steps` (an int of at least 0) or `Size` (at least 1)
    of metabench.api, or `Annotated[float, Range(ge=0, lt=1)]`; where any number will do, `Annotated[int, Range()]`.
    """
    factory = factory_of(case)
    try:
        schema = signature_of(factory, 0 if isinstance(case, SuiteCase) else 1)
    except (ValueError, TypeError, NameError) as error:
        raise NotApplicableError(f"its signature is no schema: {error}") from None
    if not schema:
        raise NotApplicableError("it has no parameters")
    if without := [str(one) for one in schema.values() if one.lacks_range]:
        cause = f"`float` or `int` where a range is meant, such as `Rate` or `Size`{where(factory)}"
        raise FailureError(f"no range for {', '.join(without)}", cause)


def factory_of(case: Case | SuiteCase) -> Callable[..., Any]:
    """The factory as its author wrote it; raises NotApplicableError for a suite without one."""
    factory = case.factory
    while isinstance(factory, partial):  # where parameters were set by hand
        factory = factory.func
    if factory is None:
        raise NotApplicableError("it is a suite that no plugin registers")
    return factory


CHECKS = (Check("parameters-explained", parameters_explained), Check("parameters-ranged", parameters_ranged))
