"""A published number made again: its row found, every setting that is known of it taken, the trials planned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metabench.errors import UserError
from metabench.experiments.execution import usable_device
from metabench.experiments.experiment import Experiment, experiment
from metabench.experiments.grids import fits
from metabench.experiments.option_values import read_settings
from metabench.experiments.options import Options
from metabench.experiments.read_options import read_options
from metabench.experiments.setup import check_in_subprocess, open_catalogue, open_registry, use_data
from metabench.records import store
from metabench.records.record import Record
from metabench.records.trials import Budget, Trial
from metabench.registry.published import PAPER, PublishedResults, load_published
from metabench.registry.published_rows import Row, find, matching, rows

if TYPE_CHECKING:
    from metabench.experiments.suite_builder import SuiteBuilder
    from metabench.registry.discovery import Registry

OUT = "results/papers"
"""Where reproductions go if nothing is said: all of them are one report."""
TASKS = 600
"""Test tasks at least, also where a source has fewer: how many there are is no part of what it measured."""
SHORT = {"updates": 20, "validations": 0, "test_tasks": 2, "test_steps": 1, "seeds": 1, "keep_state": False}
"""A training that is long enough to be timed."""
RECIPE = "paper"
"""The recipe that has what the published number leaves open."""


class Reproduction(NamedTuple):
    """A row, and the trials that make it again."""

    row: Row
    book: PublishedResults
    planned: Experiment


class Listed(NamedTuple):
    """A row as `--list` shows it."""

    row: Row
    trial: Trial | None
    """Of one seed; None where it cannot be planned."""
    problem: str
    """Why it cannot be run here: mostly, what data it lacks."""
    seconds: float | None
    """What the training of one seed takes here, by a record of such a machine in `results/` or a short run."""


def reproduction(query: str, given: Mapping[str, Any], against: str = PAPER, dry: bool = False) -> Reproduction:
    """Find the row that `query` names, and plan its trials; `given` are options of `run`, which go before the row's.

    Raises UserError.
    """
    plain = read_options(None, given)
    book = load_published(against)
    row = find(query, all_rows(plain, book))
    use_data(plain)
    asked = check_in_subprocess(asked_options, row, dict(given), plain)
    return Reproduction(row, book, experiment(read_options(None, asked), dry=dry))


def all_rows(options: Options, book: PublishedResults) -> tuple[Row, ...]:
    """The rows of what is installed. Raises UserError where there are none."""
    known = check_in_subprocess(open_catalogue, options)
    defaults = {name: {p.name: p.default for p in entry.parameters} for name, entry in known.suites.items()}
    found = rows(book.numbers, defaults, known.algorithms)
    if not found:
        raise UserError("None of these published numbers is of an algorithm and a suite that are installed.")
    return found


def asked_options(row: Row, given: dict[str, Any], plain: Options) -> dict[str, Any]:
    """See options_of; for a process that may import plugins."""
    return options_of(row, given, open_registry(plain))


def options_of(row: Row, given: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """What `run` is asked for: what is known of a row and can be set here, and before that what the user says."""
    from metabench.experiments.suite_builder import SuiteBuilder

    owners = [registry.get(kind, name) for kind, name in (("algorithm", row.algorithm), ("suite", row.suite))]
    asked: dict[str, Any] = {"algos": [row.algorithm], "suites": [row.suite], "out": OUT}
    settings: dict[str, dict[str, Any]] = {owner.name: {} for owner in owners}
    for name, value in {**row.setting, **row.facts}.items():
        kind, dot, bare = name.partition(".")
        if name in Budget.__struct_fields__:
            asked[name] = max(value, TASKS) if name == "test_tasks" else value
        elif name == "transductive":
            asked["protocol"] = "transductive" if value else "inductive"
        elif name == "selection" and value == "last":
            asked["validations"] = 0
        for owner in owners:
            wanted = bare if dot and kind == owner.kind else name
            if wanted in owner.parameters and fits(owner.parameters[wanted], value):
                settings[owner.name][wanted] = value
    suite = SuiteBuilder(registry).build(row.suite, settings[row.suite])
    if RECIPE in suite.recipes:
        asked["recipe"] = RECIPE
    typed = {name: value for name, value in given.items() if value is not None}
    if "validate_every" in typed:
        asked.pop("validations", None)
    mine = read_settings(typed.pop("set", {}))
    for name, values in mine.items() if isinstance(mine, Mapping) else ():
        settings[name] = {**settings.get(name, {}), **values}
    return {**asked, **typed, "set": {name: values for name, values in settings.items() if values}}


def reproduced_records(made: Reproduction) -> list[Record]:
    """The records of its trials."""
    ids = {trial.id for trial in made.planned.trials}
    return [record for record in store.records(made.planned.out) if record.trial.id in ids]


def listed_rows(
    query: str, given: Mapping[str, Any], against: str = PAPER, measure: bool = False
) -> tuple[Listed, ...]:
    """The rows that have every word of a query, with what each costs here, and whether its data are here.

    `measure` trains those for a few updates that no record tells the time of. Raises UserError.
    """
    plain = read_options(None, given)
    book = load_published(against)
    chosen = matching(query, all_rows(plain, book))
    use_data(plain)
    found = check_in_subprocess(with_costs, chosen, dict(given), plain)
    if measure:
        found = [one if one.problem or one.seconds else timed(one, given, against) for one in found]
    return tuple(found)


def timed(one: Listed, given: Mapping[str, Any], against: str) -> Listed:
    """The row with what its training would take if it went on as in a short run, which may be slower a step."""
    with tempfile.TemporaryDirectory() as folder:
        made = reproduction(one.row.name, {**given, "validate_every": None, **SHORT, "out": folder}, against)
        seconds = sum(outcome.record.train_seconds for outcome in made.planned.outcomes())
    updates = one.trial.budget.updates if one.trial else 0
    return one._replace(seconds=seconds / SHORT["updates"] * updates or None)


def with_costs(chosen: list[Row], given: dict[str, Any], plain: Options) -> list[Listed]:
    """See listed_rows; for a process that may import plugins."""
    from metabench.engine.environment import environment
    from metabench.experiments.suite_builder import SuiteBuilder

    registry = open_registry(plain)
    builder = SuiteBuilder(registry)
    here = environment(usable_device(plain))
    same = [one for one in known_records() if (one.provenance.device, one.provenance.cpu) == (here.device, here.cpu)]
    problems: dict[str, str] = {}
    return [listed(row, given, builder, problems, same) for row in chosen]


def listed(
    row: Row, given: dict[str, Any], builder: SuiteBuilder, problems: dict[str, str], measured: list[Record]
) -> Listed:
    """A row with its trial; `problems` keeps by suite what was found of its data."""
    from metabench.experiments.planning import plan_experiment

    try:
        options = read_options(None, options_of(row, given, builder.registry))
        trial = plan_experiment(options, builder).trials[0]
    except UserError as error:
        return Listed(row, None, str(error), None)
    if row.suite not in problems:
        problems[row.suite] = data_problem(builder, trial)
    return Listed(row, trial, problems[row.suite], seconds_of_training(trial, measured))


def data_problem(builder: SuiteBuilder, trial: Trial) -> str:
    """Why the data of a trial are not here; empty where they are. Nothing is downloaded."""
    from metabench.api.datasets import no_downloads

    try:
        with no_downloads():
            builder.build(trial.suite, trial.suite_parameters).prepare()
    except Exception as error:  # a stranger's
        return str(error)
    return ""


def known_records() -> Iterator[Record]:
    """Every record in the folders of `results/`, of which some may not be one."""
    for folder in sorted(path for path in Path("results").glob("*") if path.is_dir()):
        yield from store.records(folder)


def seconds_of_training(trial: Trial, measured: list[Record]) -> float | None:
    """By the longest trial with the same settings, whatever its seed and its budget."""
    kind = (trial.algorithm, trial.algorithm_parameters, trial.suite, trial.suite_parameters)
    same = [
        record
        for record in measured
        for one in (record.trial,)
        if (one.algorithm, one.algorithm_parameters, one.suite, one.suite_parameters) == kind
        if record.status == "ok" and record.train_seconds and one.budget.updates
    ]
    if not same:
        return None
    nearest = max(same, key=lambda record: record.trial.budget.updates)
    done = nearest.trial.budget.updates * nearest.trial.budget.meta_batch_size
    return nearest.train_seconds / done * trial.budget.updates * trial.budget.meta_batch_size
