"""The conformance kit: `metabench check NAME`, and `kit("NAME")` in an author's own tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from metabench.engine.build import assembled
from metabench.errors import UserError, unknown
from metabench.records.domains import is_made
from metabench.registry.discovery import Registry
from metabench.testing import (
    adaptation_checks,
    documentation_checks,
    repeatability_checks,
    suite_model_checks,
    suite_task_checks,
    training_checks,
)
from metabench.testing.cases import Case, Elsewhere
from metabench.testing.checks import Check, Kit, Result
from metabench.testing.other_processes import by_name
from metabench.testing.toy_suites import TOYS

Reasons = Mapping[str, str]
"""Checks that are expected to fail, and why."""

ALGORITHM = (
    *adaptation_checks.CHECKS,
    *training_checks.CHECKS,
    *repeatability_checks.CHECKS,
    *documentation_checks.CHECKS,
)
SUITE = (*suite_task_checks.CHECKS, *suite_model_checks.CHECKS, *documentation_checks.CHECKS)


def kit_of(
    registry: Registry,
    name: str,
    expected_failures: Reasons | None = None,
    elsewhere: Elsewhere | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Kit:
    """The checks of the algorithm or suite of that name, at its defaults but for these parameters; none is run yet.

    `elsewhere` gives what other processes compute, where somebody knows that already. Raises UserError.
    """
    given = dict(parameters or {})
    if name in registry.algorithms:
        elsewhere = elsewhere or by_name(registry, "algorithm", name, given)
        entry = registry.get("algorithm", name)
        factory = partial(entry.factory, **entry.resolve(given)) if given else entry.factory
        cases = {label: Case(suite(), factory, label, elsewhere) for label, suite in TOYS.items()}
        return Kit(ALGORITHM, cases, expected_failures)
    if name in registry.suites or is_made(name):
        entry = registry.get("suite", name)
        values = entry.resolve(given)
        try:
            suite = assembled(entry, values)
            suite.prepare()
        except UserError:  # which says already whose it is
            raise
        except ValueError as error:
            raise UserError(f"Suite '{name}': {error}") from None
        case = suite_task_checks.SuiteCase(
            suite, name, registry, elsewhere or by_name(registry, "suite", name, given)
        )
        return Kit(SUITE, {"": case}, expected_failures, suite.notes())
    raise registry.unknown("algorithm or suite", name, (*registry.algorithms, *registry.suites))


def check_plugin(
    registry: Registry,
    name: str,
    expected_failures: Reasons | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> list[Result]:
    """Every check of the algorithm or suite of that name, at its defaults but for these parameters."""
    return kit_of(registry, name, expected_failures, parameters=parameters).results()


def check_algorithm(factory: Callable[..., Any], expected_failures: Reasons | None = None) -> list[Result]:
    """Every check of an algorithm's factory, on each toy suite."""
    cases = {label: Case(suite(), factory, label) for label, suite in TOYS.items()}
    return Kit(ALGORITHM, cases, expected_failures).results()


def check_suite(case: suite_task_checks.SuiteCase, expected_failures: Reasons | None = None) -> list[Result]:
    """Every check of a suite."""
    case.suite.prepare()
    return Kit(SUITE, {"": case}, expected_failures).results()


def explain(registry: Registry, name: str, check: str) -> str:
    """What a check of the algorithm or suite of that name does, why, and what usually breaks it."""
    if name in registry.algorithms or name in registry.suites:
        checks = {one.name: one for one in (ALGORITHM if name in registry.algorithms else SUITE)}
    else:
        checks = kit_of(registry, name).checks  # raises
    if check not in checks:
        raise UserError(unknown("check", check, checks))
    return explanation(checks[check])


def explanation(check: Check) -> str:
    """The documentation of a check, with what it waits for."""
    needs = f"\nNot looked at until these hold: {', '.join(check.needs)}." if check.needs else ""
    return f"{check.name}: {check.explanation}{needs}"
