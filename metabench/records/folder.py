"""What is in a results folder: how far its trials are, and what may be removed."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from metabench.errors import UserError, attempt, missing
from metabench.records import requests, store
from metabench.records.checkpoints import NAME as CHECKPOINT
from metabench.records.checkpoints import TRAINING, header_of
from metabench.records.files import TEMPORARY
from metabench.records.locks import running
from metabench.records.record import Record
from metabench.records.states import STATE
from metabench.units import describe


class FolderStatus(NamedTuple):
    """How far an experiment is."""

    planned: int
    counts: dict[str, int]
    """Finished trials by status, those that are running, and those whose record or scores are damaged."""
    left: int
    """Neither finished nor running."""
    failures: list[str]
    running: list[tuple[str, str, str, str]]
    """Trials at work or interrupted: id, which of the two, updates done, time computed."""
    seconds: float | None
    """Of computing that is left, from what like trials took; None where nothing tells."""

    def headline(self, root: Path) -> str:
        """`results/one: 3 ok, 1 running; 2 left of 6, about 5 min of computing, one trial at a time.`"""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        rest = f", about {describe(self.seconds)} of computing, one trial at a time" if self.seconds else ""
        return f"{root}: {counts}; {self.left} left of {self.planned}{rest}."


def folder_status(root: Path) -> FolderStatus:
    """What records, checkpoints and locks say; nothing is changed."""
    root = store.existing(root)
    damaged = store.damaged(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are counted as what they are
        records = {record.trial.id: record for record in store.records(root) if record.trial.id not in damaged}
        planned = {trial.id: trial for trial in requests.requested_trials(root)}
    planned |= {record.trial.id: record.trial for record in records.values()}
    at_work = running(root) - records.keys()
    counts: dict[str, int] = dict(Counter(str(record.status) for record in records.values()))
    rows, seconds = [], 0.0
    took = usual_seconds(records.values())
    for name in planned.keys() - records.keys():
        trial, header = planned[name], header_of(root / name)
        done = header.update / max(1, header.updates) if header else 0.0
        usual = took.get((trial.suite, trial.algorithm)) or took.get(("", ""))
        if header and header.update:
            usual = header.seconds / done
        seconds += (1 - done) * (usual if usual is not None else float("nan"))
        if name in at_work or header:
            updates = f"{header.update}/{header.updates}" if header else f"0/{trial.budget.updates}"
            where = "running" if name in at_work else "interrupted"
            rows.append((name, where, updates, describe(header.seconds) if header else ""))
    failures = [
        f"{record.trial.id}: {record.status}, {record.reason}" for record in records.values() if record.is_failure
    ]
    failures += [f"{name}: damaged, {reason}; the same command runs it again" for name, reason in damaged.items()]
    if at_work:
        counts["running"] = len(at_work)
    if damaged.keys() - at_work:
        counts["damaged"] = len(damaged.keys() - at_work)
    asked_for = len(planned.keys() | damaged.keys())
    left = asked_for - len(records) - len(at_work)
    known = seconds if len(records) < asked_for and seconds == seconds else None
    return FolderStatus(asked_for, counts or {"done": 0}, left, failures, sorted(rows), known)


def usual_seconds(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """The mean time of a finished trial by suite and algorithm; under ("", "") of all."""
    by_pair: dict[tuple[str, str], list[float]] = {}
    for record in records:
        names = [name for name in Record.__struct_fields__ if name.endswith("_seconds")]
        whole = sum(getattr(record, name) for name in names)
        for key in ((record.trial.suite, record.trial.algorithm), ("", "")):
            by_pair.setdefault(key, []).append(whole)
    return {key: statistics.fmean(values) for key, values in by_pair.items()}


def clean(
    root: Path, *, failed: bool, checkpoints: bool, damaged: bool, trials: list[str], dry: bool, states: bool = False
) -> list[Path]:
    """Remove what is named, and nothing else; the files. Raises UserError, before anything is removed."""
    root = store.existing(root)
    if not (failed or checkpoints or states or damaged or trials):
        raise UserError("Say what to remove: --failed, --checkpoints, --states, --damaged or --trial ID.")
    known = {path.name for path in root.iterdir() if path.is_dir() and is_trial(path)}
    for name in trials:
        if name not in known:
            raise UserError(missing("There is no trial", name, known))
    failures = {r.trial.id for r in store.records(root) if not r.is_final} if failed else set()
    wanted: dict[str, list[Path]] = {}
    for name in sorted(known):
        folder = root / name
        named: list[Iterable[Path]] = []
        if name in trials or name in failures:
            named.append(own_files(folder))
        if checkpoints:
            named.append(folder.glob(CHECKPOINT))
        if states:
            named += [folder.glob(STATE), folder.glob(TRAINING)]
        if damaged:
            named.append(folder.glob("*.damaged-*"))
        wanted[name] = sorted({path for paths in named for path in paths})
    busy = running(root) & {name for name, paths in wanted.items() if paths}
    if busy:
        raise UserError(f"Trial '{min(busy)}' is running; stop it first.")
    if not dry:
        for name, paths in wanted.items():
            remove(root / name, paths)
    return [path for paths in wanted.values() for path in paths]


def is_trial(folder: Path) -> bool:
    """Whether a folder holds files of a trial; `plans` and the locks do not."""
    return folder.name not in (requests.PLANS,) and not folder.name.startswith(".") and any(own_files(folder))


def own_files(folder: Path) -> Iterator[Path]:
    """The files in a trial's folder that metabench writes."""
    names = ("record.json", "scores.json", store.EXAMPLES, STATE, TRAINING, CHECKPOINT)
    for pattern in (*names, "*.damaged-*", f"{TEMPORARY}*"):
        yield from folder.glob(pattern)


def remove(folder: Path, paths: list[Path]) -> None:
    """Remove files, the record first so that a trial is never half there; and the folder when it is empty."""
    for path in sorted(paths, key=lambda path: path.name != "record.json"):
        with attempt(f"remove '{path}'"):
            path.unlink(missing_ok=True)
    if paths and not any(folder.iterdir()):
        folder.rmdir()
