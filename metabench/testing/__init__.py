"""The conformance kit: `metabench check NAME`, and `check_plugin` for an author's own tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from metabench.errors import UserError, one_line, unknown
from metabench.registry import Registry
from metabench.testing import algorithms, suites
from metabench.testing.toys import TOYS

__all__ = ["Result", "check_algorithm", "check_plugin", "check_suite"]


class Result(NamedTuple):
    """What one check found: passed, failed or skipped, and why."""

    check: str
    verdict: str
    message: str


def check_plugin(registry: Registry, name: str, parameters: Mapping[str, Any] | None = None) -> list[Result]:
    """Every check of the algorithm or suite of that name, at its defaults but for these. Raises UserError."""
    given = dict(parameters or {})
    if name in registry.algorithms:
        entry = registry.algorithms[name]
        return check_algorithm(partial(entry.factory, **entry.resolve(given)))
    if name in registry.suites:
        entry = registry.suites[name]
        values = entry.resolve(given)
        try:
            return check_suite(suites.SuiteCase(entry.factory(**values), name, registry))
        except ValueError as error:
            raise UserError(f"Suite '{name}': {error}") from None
    broken = "".join(f" Plugin '{p.name}' could not be loaded: {p.problem}." for p in registry.broken)
    raise UserError(unknown("algorithm or suite", name, (*registry.algorithms, *registry.suites)) + broken)


def check_algorithm(factory: Callable[..., Any]) -> list[Result]:
    """Every check of an algorithm's factory, on each toy suite."""
    cases = {name: algorithms.Case(suite(), factory) for name, suite in TOYS.items()}
    return [run_check(name, check, cases) for name, check in algorithms.CHECKS.items()]


def check_suite(case: suites.SuiteCase) -> list[Result]:
    """Every check of a suite."""
    case.suite.prepare()
    return [run_check(name, check, {"": case}) for name, check in suites.CHECKS.items()]


def run_check(name: str, check: Callable[[Any], None], cases: dict[str, Any]) -> Result:
    """One check on every case: the first failure, or that it passed, or why it does not apply anywhere."""
    skipped = ""
    passed = False
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        for label, case in cases.items():
            place = f"on {label}: " if label else ""
            try:
                check(case)
                passed = True
            except algorithms.NotApplicableError as reason:
                skipped = str(reason)
            except AssertionError as failure:
                return Result(name, "failed", f"{place}{failure}")
            except Exception as error:
                return Result(name, "failed", f"{place}{one_line(error)}")
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    rule = (check.__doc__ or "").split("\n")[0]
    return Result(name, "passed", rule) if passed else Result(name, "skipped", skipped)
