"""Options -> what is to be tuned, checked before the first trial starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from metabench.errors import UserError, missing
from metabench.experiments.execution import plan_execution
from metabench.experiments.grids import refuse_grids
from metabench.experiments.options import Options, as_tuple
from metabench.experiments.setup import check_in_subprocess, folder, open_registry, prepare_data, use_data, with_names
from metabench.experiments.stale import counted, outdated
from metabench.experiments.tuning.candidate import SearchSpec
from metabench.experiments.tuning.search import ROUND
from metabench.experiments.tuning.space import default_space, given_space
from metabench.records import store
from metabench.records.domains import parts
from metabench.records.trials import Execution, Trial

if TYPE_CHECKING:  # torch is imported where a suite is built
    from metabench.experiments.suite_builder import SuiteBuilder

FIRST_SEED = 1000
"""Seeds of tuning begin here, those of a comparison at 0."""
MAX_SEEDS = 100
MAX_TRIALS = 10_000


class TuningRequest(NamedTuple):
    """What the user asks of tuning, besides the options of a run."""

    trials: int
    seeds: int
    """How many each candidate is trained at."""
    sampler_seed: int
    space: dict[str, dict[str, str]]


class TuningPlan(NamedTuple):
    """Checked, but not begun. Plain data."""

    out: Path
    options: Options
    specs: tuple[SearchSpec, ...]
    execution: Execution
    jobs: int
    notices: tuple[str, ...] = ()
    """What the user should know of the data: what was left out, say."""


def plan_tuning(options: Options, request: TuningRequest) -> TuningPlan:
    """Check everything that can be checked; raises UserError. In a process of its own, as `experiment` does."""
    for name, value, most in (("trials", request.trials, MAX_TRIALS), ("seeds", request.seeds, MAX_SEEDS)):
        if not 1 <= value <= most:
            raise UserError(f"--{name} must be from 1 to {most:,}, not {value}.")
    if not options.algos or not options.suites:
        raise UserError("Say what to tune: --algos and --suites.")
    use_data(options)
    seeds = tuple(range(FIRST_SEED, FIRST_SEED + request.seeds))
    # a failed candidate counts, that is all
    options = msgspec.structs.replace(with_names(options), seeds=seeds, fail_fast=False)
    return check_in_subprocess(check, options, request)


def check(options: Options, request: TuningRequest) -> TuningPlan:
    """See plan_tuning."""
    from metabench.engine.digests import code_now
    from metabench.experiments.planning import plan_experiment
    from metabench.experiments.suite_builder import SuiteBuilder

    registry = open_registry(options)
    builder = SuiteBuilder(registry)
    for name in request.space:
        if name not in options.algos:
            raise UserError(missing("This tuning has no algorithm for --space:", name, options.algos))
    for name in options.suites:
        if parts(name):
            raise UserError(
                f"Tune on one suite that is registered, not on '{name}': `run --recipe` takes it to others."
            )
    of = {"algorithm": options.algos, "suite": options.suites}
    refuse_grids(options, (registry.get(kind, name) for kind, names in of.items() for name in names))
    bases = [trial for trial in plan_experiment(options, builder).trials if trial.seed == FIRST_SEED]
    specs = []
    for base in bases:
        entry = registry.get("algorithm", base.algorithm)
        fixed = options.set.get(base.algorithm, {})
        space = default_space(entry.parameters, base.algorithm_parameters)
        space |= given_space(entry, request.space.get(base.algorithm, {}))
        both = sorted(fixed.keys() & request.space.get(base.algorithm, {}).keys())
        if both:
            raise UserError(f"'{base.algorithm}.{both[0]}' is in both --set and --space: which of the two?")
        space = {name: dimension for name, dimension in space.items() if name not in fixed}
        if not space:
            raise UserError(f"There is nothing to tune in '{base.algorithm}': name a parameter with --space.")
        if not base.budget.validations:
            raise UserError("Tuning needs validation: --validations must be at least 1.")
        higher = builder.build(base.suite, base.suite_parameters).higher_is_better
        specs.append(SearchSpec(base, space, higher, request.trials, as_tuple(options.seeds), request.sampler_seed))
    refuse_unequal(bases)
    out = folder(options) if options.out else folder(options).with_name(f"tune-{folder(options).name}")
    execution, jobs = plan_execution(options, ROUND * len(specs), registry)
    execution = msgspec.structs.replace(execution, code=code_now(registry, bases))
    store.ensure_writable(out)
    notices = prepare_data(builder, tuple(bases))
    refuse_outdated(out, bases, builder)
    return TuningPlan(out, options, tuple(specs), execution, jobs, notices)


def refuse_outdated(out: Path, bases: list[Trial], builder: SuiteBuilder) -> None:
    """Raise UserError if candidates that are there already are of other code or data than there is now."""
    searched = {(base.algorithm, base.suite) for base in bases}
    there = [r.trial for r in store.records(out) if (r.trial.algorithm, r.trial.suite) in searched]
    stale = outdated(out, there, builder, with_data=True)
    if stale.records:
        raise UserError(
            f"{counted(len(stale.records), 'do not match', 'does not match')} what was changed since: "
            f"{', '.join(sorted(stale.reasons))}. A search compares its candidates: give another --out than '{out}'."
        )


def refuse_unequal(bases: list[Trial]) -> None:
    """Raise UserError if two algorithms would be tuned with different numbers of updates on one suite."""
    by_suite: dict[str, dict[int, str]] = {}
    for base in bases:
        by_suite.setdefault(base.suite, {})[base.budget.updates] = base.algorithm
    for suite, updates in by_suite.items():
        if len(updates) > 1:
            listed = ", ".join(f"{name} {number:,}" for number, name in updates.items())
            raise UserError(
                f"Algorithms need equal budgets: on '{suite}' the recipe gives {listed} updates. Say --updates."
            )
