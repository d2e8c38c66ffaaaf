"""What a trial is made of: its suite, and its algorithm on the suite's model."""

from __future__ import annotations

from metabench.api import Algorithm, Learner, Suite
from metabench.engine.problem import DTYPES, build_problem
from metabench.errors import NotApplicableError, UserError
from metabench.records.trials import Trial
from metabench.registry.discovery import Registry


def build_suite(registry: Registry, trial: Trial) -> Suite:
    """The suite of a trial; raises UserError that names it when its parameters do not fit together."""
    entry = registry.get("suite", trial.suite)
    try:
        suite: Suite = entry.factory(**entry.resolve(trial.suite_parameters))
    except (ValueError, UserError) as error:
        raise UserError(f"Suite '{trial.suite}': {error}") from None
    return suite


def build_algorithm(registry: Registry, suite: Suite, trial: Trial, device: str) -> Algorithm | Learner:
    """What the trial's algorithm makes of the suite's model; raises NotApplicableError if it is not made for it."""
    entry = registry.get("algorithm", trial.algorithm)
    problem = build_problem(suite, trial.seed, device, DTYPES[trial.precision], trial.precision)
    try:
        made: Algorithm | Learner = entry.factory(problem, **entry.resolve(trial.algorithm_parameters))
    except NotApplicableError:
        raise
    except (ValueError, UserError) as error:
        raise UserError(f"Algorithm '{trial.algorithm}': {error}") from None
    return made


def refuse_overlap(name: str, suite: Suite) -> None:
    """Raise UserError if two splits draw from a common class."""
    groups = {split: suite.groups(split) for split in ("train", "validation", "test")}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(groups[one] & groups[other])
        if shared:
            raise UserError(
                f"Suite '{name}': the {one} and {other} splits share {len(shared)} classes, such as '{shared[0]}'."
            )
