"""What trials have learnt, found in a results folder and put to use: load_learner."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.errors import UserError, missing
from metabench.records import store
from metabench.records.files import DamagedError
from metabench.records.matching import changes
from metabench.records.record import Record
from metabench.registry.parameters import shown

if TYPE_CHECKING:
    from metabench.engine.trained import TrainedLearner

SHOWN = 8
"""Values of a setting that an error lists at most."""


def load_learner(
    results: str | Path,
    algorithm: str | None = None,
    *,
    suite: str | None = None,
    seed: int | None = None,
    trial: str | None = None,
    device: str = "cpu",
    plugins: Iterable[str | Path] = (),
    changed_code: bool = False,
    **settings: Any,
) -> TrainedLearner:
    """The learner that a finished trial has trained, to adapt to tasks of your own.

    Raises UserError where none or more than one trial fits, where its state was not kept, or where it is of other
    code than there is now.

    Args:
        results: A results folder.
        algorithm: The algorithm; may be left out where the folder has one.
        suite: The suite that it was trained on; may be left out where the folder has one.
        seed: The trial's seed; may be left out where the folder has one.
        trial: The trial's id, in place of all these.
        device: Where it adapts: `cpu`, `cuda` ...
        plugins: Plugin files that it needs.
        changed_code: Load it even where the code of its algorithm or suite was changed since.
        settings: What else tells it from others: `shots=5`, `inner_lr=0.1`, `updates=1000`.
    """
    record = find_record(results, {"algorithm": algorithm, "suite": suite, "seed": seed}, settings, trial)
    return learner_of(results, record, device, tuple(os.fspath(path) for path in plugins), changed_code)


def learner_of(
    results: str | Path, record: Record, device: str = "cpu", plugins: Sequence[str] = (), changed_code: bool = False
) -> TrainedLearner:
    """The learner of a record. Raises UserError where its state was not kept, or is not of this code."""
    from metabench.engine.build import build_suite
    from metabench.engine.digests import code_digests, code_now
    from metabench.engine.kept_state import read_state
    from metabench.engine.trained import TrainedLearner

    trial = record.trial
    who = f"Cannot load the learner of '{trial.id}'"
    again = f"`metabench clean {results} --trial {trial.id}` and the command that ran it train it again"
    try:
        content = store.read_state(results, record)
    except DamagedError as error:
        raise UserError(f"{who}: its state.pt cannot be used, {error}; {again}.") from None
    if content is None:
        gone = "its state.pt was removed" if record.state_sha256 else "its state was not kept (see --keep-state)"
        raise UserError(f"{who}: {gone}; {again}.")
    from metabench.registry.discovery import load_registry

    registry = load_registry(tuple(os.path.realpath(name) for name in plugins))
    try:
        found = changes(record, code_digests(code_now(registry, [trial]), trial))
        if found and not changed_code:
            raise UserError(
                f"{' and '.join(found)} changed since; {again}, --changed-code (changed_code=True) loads it still"
            )
        header, state = read_state(content)
        if header["id"] != trial.id:
            raise UserError(f"its state.pt is that of '{header['id']}'")
        suite = build_suite(registry, trial)
        suite.prepare()
        return TrainedLearner(record, suite, registry, state, device)
    except (UserError, ValueError) as error:
        raise UserError(f"{who}: {str(error).rstrip('.')}.") from None


def find_record(
    results: str | Path, names: Mapping[str, Any], settings: Mapping[str, Any], trial: str | None = None
) -> Record:
    """The one finished trial that fits; raises UserError where there is none, or more than one."""
    with warnings.catch_warnings(action="ignore"):  # damaged records are others' business
        records = list(store.records(results))
    if trial is not None:
        chosen = [record for record in records if record.trial.id == trial]
        if not chosen:
            raise UserError(missing(f"'{results}' has no trial", trial, (record.trial.id for record in records)))
        return finished(chosen)[0]
    if not records:
        raise UserError(f"There is no finished trial in '{results}'.")
    fitting = narrowed(
        results, records, {name: value for name, value in names.items() if value is not None}, settings
    )
    fitting = finished(fitting)
    if len(fitting) > 1:
        told = " ".join(f"{name}: {values}." for name, values in telling(fitting).items())
        raise UserError(f"{len(fitting)} trials fit; say which one. They differ in: {told}")
    return fitting[0]


def narrowed(
    results: str | Path, records: list[Record], names: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Record]:
    """The records with these names and settings; raises UserError for one that none has."""
    known = {name for record in records for name in record.trial.settings()}
    for name in settings:
        if name not in known:
            raise UserError(missing(f"The trials in '{results}' have no setting", name, known))
    for name, value in {**names, **settings}.items():
        fitting = [record for record in records if facts(record).get(name) == value]
        if not fitting and name in ("algorithm", "suite"):
            raise UserError(
                missing(f"'{results}' has no {name}", str(value), {facts(each)[name] for each in records})
            )
        if not fitting:
            there = listed(facts(record)[name] for record in records if name in facts(record))
            raise UserError(f"'{results}' has no such trial with {name} {shown(value)}; there is {there}.")
        records = fitting
    return records


def finished(records: list[Record]) -> list[Record]:
    """Those that ended well; raises UserError that says how they ended where none did."""
    good = [record for record in records if record.status == "ok"]
    if not good:
        first = records[0]
        raise UserError(f"Trial '{first.trial.id}' is '{first.status}', it learnt nothing to use: {first.reason}")
    return good


def facts(record: Record) -> dict[str, Any]:
    """What a trial can be told by."""
    trial = record.trial
    return {
        "algorithm": trial.algorithm,
        "suite": trial.suite,
        "seed": trial.seed,
        **trial.settings("suite", "algorithm", "trial"),
    }


def telling(records: Sequence[Record]) -> dict[str, str]:
    """What tells the records apart, with its values."""
    every = [facts(record) for record in records]
    names = dict.fromkeys(name for each in every for name in each)
    found = {name: [each[name] for each in every if name in each] for name in names}
    told = {name: listed(values) for name, values in found.items() if len({repr(value) for value in values}) > 1}
    whose = [name for name in told if name in ("algorithm", "suite")]  # of two suites, say, all settings may differ
    return {name: told[name] for name in whose or list(told)[:SHOWN]}


def listed(values: Iterable[Any]) -> str:
    """Distinct values, in order: `1, 5`."""
    texts = list({repr(value): shown(value) for value in values}.values())
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")
