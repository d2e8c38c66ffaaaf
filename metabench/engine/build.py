"""What a trial is made of: its suite, and its algorithm on the suite's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metabench.api import Algorithm, Learner, Suite, cross, shifted
from metabench.api.apart import as_tested, augmented, trained_apart
from metabench.api.trees import flatten
from metabench.engine.own_model import with_own
from metabench.engine.problem import DTYPES, build_problem
from metabench.errors import NotApplicableError, UserError
from metabench.records.domains import domains, own_parameters
from metabench.records.trials import Trial
from metabench.registry import added
from metabench.registry.compound import VALIDATE
from metabench.registry.discovery import Entry, Registry
from metabench.registry.own_models import parted


def build_suite(registry: Registry, trial: Trial) -> Suite:
    """The suite of a trial; raises UserError that names it when its parameters do not fit together."""
    entry = registry.get("suite", trial.suite)
    try:
        return assembled(entry, entry.resolve(trial.suite_parameters))
    except (ValueError, UserError) as error:
        raise UserError(f"Suite '{trial.suite}': {error}") from None


def by_factory(entry: Entry, parameters: dict[str, Any]) -> Suite:
    """One suite, as its author makes it."""
    suite: Suite = entry.factory(**parameters)
    return suite


def assembled(
    entry: Entry, parameters: dict[str, Any], make: Callable[[Entry, dict[str, Any]], Suite] = by_factory
) -> Suite:
    """The suite of an entry, shifted or crossed where its name says so; `make` makes those that are registered.

    Raises ValueError for suites that do not fit together.
    """
    if entry.domains:
        source, target = (assembled(one, own_parameters(parameters, one.name), make) for one in entry.domains)
        names = [domain.suite for domain in domains(entry.name)]
        return cross(source, target, parameters[VALIDATE.name], (names[0], names[1]))
    plain, own = parted(entry.parameters, parameters)
    plain, given = added.parted(entry.parameters, plain)
    suite = make(entry, plain)
    augment = given.pop("augment", "none")
    if given:
        suite = trained_apart(suite, given, lambda ways: make(entry, {**plain, "ways": ways}))
    if augment != "none":
        suite = augmented(suite, augment)
    suite = with_own(suite, own, plain)
    for shift in entry.shifts:
        suite = shifted(suite, *shift)
    as_tested(suite)  # raises where it lacks what its test needs
    return suite


def build_algorithm(registry: Registry, suite: Suite, trial: Trial, device: str) -> Algorithm | Learner:
    """What the trial's algorithm makes of the suite's model; raises NotApplicableError if it is not made for it.

    Where a test task has another number of classes, the inner loop is that of the algorithm for so many.
    """
    entry = registry.get("algorithm", trial.algorithm)

    def made_for(suite: Suite) -> Algorithm | Learner:
        problem = build_problem(suite, trial.seed, device, DTYPES[trial.precision], trial.precision)
        made: Algorithm | Learner = entry.factory(problem, **entry.resolve(trial.algorithm_parameters))
        return made

    try:
        made = made_for(suite)
        return made if suite.test_ways is None else tested_otherwise(made, made_for(as_tested(suite)), suite)
    except NotApplicableError:
        raise
    except (ValueError, UserError) as error:
        raise UserError(f"Algorithm '{trial.algorithm}': {error}") from None


def tested_otherwise(trained: Algorithm | Learner, tested: Algorithm | Learner, suite: Suite) -> Algorithm:
    """The algorithm for the suite's `ways`, with the inner loop of that for its `test_ways`, from the same state.

    Raises NotApplicableError where what is learnt is of other shapes there, as a head with a row for each class is.
    """
    if not isinstance(trained, Algorithm) or not isinstance(tested, Algorithm):
        raise NotApplicableError("it is a Learner of its own, which is made for one number of classes (test_ways)")
    if trained.objective is None and trained.meta_grad is None:
        return tested
    here, there = ([tuple(leaf.shape) for leaf in flatten(one.init())[0]] for one in (trained, tested))
    if here != there:
        raise NotApplicableError(
            f"what it learns is made for tasks of {suite.ways} classes, and those of the test have {suite.test_ways} "
            "(test_ways)"
        )
    return trained._replace(inner=tested.inner)


def refuse_overlap(name: str, suite: Suite) -> None:
    """Raise UserError if two splits draw from a common class."""
    groups = {split: suite.groups(split) for split in ("train", "validation", "test")}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(groups[one] & groups[other])
        if shared:
            raise UserError(
                f"Suite '{name}': the {one} and {other} splits share {len(shared)} classes, such as '{shared[0]}'."
            )
