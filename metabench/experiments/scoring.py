"""Trained learners, tested elsewhere without training again: `metabench.score` and `metabench score`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from metabench.errors import UserError, missing
from metabench.experiments.learners import learner_of
from metabench.records import store
from metabench.records.domains import own_parameters
from metabench.records.frames import task_rows
from metabench.records.record import Record
from metabench.records.trials import Execution, Protocol, Trial

if TYPE_CHECKING:
    from pandas import DataFrame

    from metabench.api import Suite, Task
    from metabench.engine.trained import TrainedLearner
    from metabench.experiments.options import Options
    from metabench.registry.discovery import Entry, Registry

OWN = "tasks"
"""What the table calls a suite that is no registered one."""


def score(
    learner: TrainedLearner,
    tasks: str | Suite | Task,
    *,
    test_tasks: int | None = None,
    steps: int | None = None,
    protocol: Protocol | None = None,
    **settings: Any,
) -> DataFrame:
    """Score a trained learner on tasks: a row for each protocol, task and inner step, as `load_tasks` has them.

    Args:
        learner: What `load_learner` gives.
        tasks: The name of a suite, whose test tasks are those that every trial on it meets (`emnist`, or
            `omniglot:emnist`); a Suite; or a Task of tensors with an axis of tasks in front.
        test_tasks: How many of a suite's tasks; by default as many as the learner's trial was tested on.
        steps: Inner steps; by default as many as in that test.
        protocol: `transductive`, `inductive` or `both`; by default as in that test.
        settings: Parameters of the suite of that name: `shots=5`. Those of the same name as the learner's own suite
            has are its own by default.
    """
    from metabench.api import Suite
    from metabench.engine.score_again import scores_of, tried_as
    from metabench.engine.tasks import task_blocks

    budget = {"test_tasks": test_tasks, "test_steps": steps}
    trial = changed(learner.trial, {name: value for name, value in budget.items() if value is not None}, protocol)
    if isinstance(tasks, str):
        outcome = tried_as(learner, elsewhere(trial, tasks, learner.registry, settings))
        if outcome.record.status != "ok":
            raise UserError(f"{learner!r} on '{tasks}': {outcome.record.reason}")
        return task_rows(outcome.record.trial, outcome.scores)
    if settings:
        raise UserError(f"Only a suite that is named takes settings, not a {type(tasks).__name__}.")
    suite, given = learner.suite, tasks
    if isinstance(tasks, Suite):
        suite = tasks
        suite.prepare()
        blocks = task_blocks(suite, OWN, "test", trial.budget.test_tasks, "cpu")
        given = joined(list(blocks))
    checked = learner.tasks(given)
    scores = scores_of(learner, suite, checked, trial.budget.test_steps, trial.protocol)
    return task_rows(trial, scores).assign(suite=OWN)


def joined(blocks: Sequence[Task]) -> Task:
    """Blocks of tasks as one."""
    from metabench.api.trees import concatenate

    tasks: Task = concatenate(list(blocks))
    return tasks


def changed(trial: Trial, budget: dict[str, int], protocol: Protocol | None) -> Trial:
    """The trial with another test. Raises UserError."""
    from metabench.experiments.planning import limits

    if protocol is not None and protocol not in get_args(Protocol):
        raise UserError(f"protocol must be transductive, inductive or both, not {protocol!r}.")
    whole = limits(f"'{trial.id}'", msgspec.structs.asdict(trial.budget) | budget)
    return msgspec.structs.replace(trial, budget=whole, protocol=protocol or trial.protocol)


def elsewhere(trial: Trial, name: str, registry: Registry, given: dict[str, Any]) -> Trial:
    """The trial as if it were tested on the suite of that name: `emnist`, or `omniglot:emnist`. Raises UserError."""
    trained, _, _ = trial.suite.partition(":")
    source, colon, target = name.partition(":")
    if colon and source != trained:
        raise UserError(f"'{trial.id}' was trained on '{trained}', not on '{source}'.")
    target = target if colon else source
    own = trial.suite_parameters if trial.suite == trained else own_parameters(trial.suite_parameters, trained)
    if target == trained:
        entry = registry.get("suite", trained)
        return msgspec.structs.replace(trial, suite=trained, suite_parameters=entry.resolve(own | given))
    pair = f"{trained}:{target}"
    there = shared(registry.get("suite", target), own) | given
    entry = registry.get("suite", pair)
    sides = {f"{side}.{key}": value for side, of in ((trained, own), (target, there)) for key, value in of.items()}
    return msgspec.structs.replace(trial, suite=pair, suite_parameters=entry.resolve(sides))


def shared(entry: Entry, own: Mapping[str, Any]) -> dict[str, Any]:
    """Of these parameters those that another suite has too, and can have: a 20-way learner is tested on 20 ways."""
    from metabench.experiments.grids import fits

    both = entry.parameters.keys() & own.keys()
    return {name: own[name] for name in sorted(both) if fits(entry.parameters[name], own[name])}


class Scored(NamedTuple):
    """One learner on one suite: its record, or why there is none."""

    source: Record
    suite: str
    record: Record | None = None
    reason: str = ""


def score_folder(
    results: Path, out: Path, options: Options, protocol: Protocol | None = None, changed_code: bool = False
) -> Iterator[Scored]:
    """Test every learner whose state was kept in a folder on each suite; the records go to `out`.

    A suite written `a:b` is for learners trained on `a`. What `out` holds already is not done again.
    Raises UserError.
    """
    from metabench.engine.run import set_up_process
    from metabench.engine.score_again import tried_as
    from metabench.experiments.execution import usable_device
    from metabench.experiments.setup import plugin_files, use_data
    from metabench.experiments.stale import record_of
    from metabench.registry.discovery import load_registry

    use_data(options)
    if not options.suites:
        raise UserError("Say where to test: --suites NAME.")
    learners = [record for record in store.records(results) if record.status == "ok" and record.state_sha256]
    if not learners:
        raise UserError(f"No learner was kept in '{results}': see --keep-state.")
    for name in options.algos:
        if name not in (known := {record.trial.algorithm for record in learners}):
            raise UserError(missing(f"'{results}' has no learner of algorithm", name, known))
    known_suites = {part for suite in options.suites for part in (suite, *suite.split(":"))}
    for name in options.set.keys() - known_suites:
        raise UserError(missing("There is no suite among --suites to --set:", name, sorted(known_suites)))
    registry, device = load_registry(plugin_files(options)), usable_device(options)
    for name in options.suites:
        registry.get("suite", name)
    budget = {name: value for name, value in options.budget.items() if name.startswith("test_")}
    store.ensure_writable(out)
    set_up_process(Execution(device=device))
    for record in learners:
        if options.algos and record.trial.algorithm not in options.algos:
            continue
        learner = None
        for suite in options.suites:
            source, colon, target = suite.partition(":")
            if colon and source != record.trial.suite.partition(":")[0]:
                continue
            given = options.set.get(target or source, {})
            try:
                trial = elsewhere(changed(record.trial, budget, protocol), suite, registry, given)
                found = record_of(out, trial)
                if found is None or found.status != "ok":
                    learner = learner or learner_of(results, record, device, plugin_files(options), changed_code)
                    outcome = tried_as(learner, trial)
                    with store.writing(out):
                        store.write(out, outcome)
                    found = record_of(out, trial)
                yield Scored(record, suite, found)
            except UserError as error:
                yield Scored(record, suite, reason=str(error))
