"""results/<experiment>/<trial id>/: record.json, and scores.json with the per-task scores beside it.

The record is written last and renamed into place, so a trial is finished exactly if its record can be read.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from metabench.errors import UserError
from metabench.trials import RECORD_VERSION, Outcome, Record, Scores

if TYPE_CHECKING:
    from pandas import DataFrame

FINISHED = ("ok", "diverged")
"""Statuses that running the same command again would only repeat."""


def prepare(root: Path) -> None:
    """Make the folder and show that it can be written to, before any trial runs."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(
            f"Cannot write to the results folder '{root}': {error.strerror or error}. Choose another with --out."
        ) from None


def write(root: Path, outcome: Outcome) -> None:
    """Add a finished trial: the scores first, the record last, each atomically."""
    folder = root / outcome.record.trial.id
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "scores.json", msgspec.json.encode(outcome.scores))
    write_atomically(folder / "record.json", msgspec.json.format(msgspec.json.encode(outcome.record), indent=1))


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds either what it held before or all of `content`, whatever happens meanwhile."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def records(root: str | Path) -> Iterator[Record]:
    """Every readable record, in the order of the trials' ids; an unreadable one is passed over with a warning."""
    for path in sorted(existing(root).glob("*/record.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except (msgspec.DecodeError, OSError) as error:
            warnings.warn(f"Passed over '{path}', which cannot be read: {error}", stacklevel=2)
            continue
        if record.version > RECORD_VERSION:
            raise UserError(
                f"'{path}' was written by a newer metabench (record version {record.version}, "
                f"this one reads up to {RECORD_VERSION}). Upgrade metabench to read it."
            )
        yield record


def existing(root: str | Path) -> Path:
    """The folder, or a clear error."""
    path = Path(root)
    if not path.is_dir():
        raise UserError(f"There is no results folder '{path}'. `metabench run --out {path}` makes one.")
    return path


def finished(root: Path) -> dict[str, Record]:
    """The trials that need not run again, by id."""
    if not root.is_dir():
        return {}
    return {record.trial.id: record for record in records(root) if record.status in FINISHED}


def scores(root: str | Path, record: Record) -> Scores:
    """The per-task scores of one trial; empty for one that failed."""
    path = Path(root) / record.trial.id / "scores.json"
    return msgspec.json.decode(path.read_bytes(), type=Scores) if path.is_file() else {}


def load(root: str | Path) -> DataFrame:
    """A row per trial (and per protocol, where a trial was tested under both)."""
    import pandas as pd

    rows = [row for record in records(root) for row in record_rows(record)]
    return pd.DataFrame(rows, columns=None if rows else list(COLUMNS))


COLUMNS = (
    "trial_id algorithm suite seed status reason metric score ci95 transductive protocol precision updates "
    "meta_batch_size test_steps test_tasks selection selected_update train_seconds sample_seconds "
    "prepare_seconds validation_seconds test_seconds adapt_ms peak_memory_mb strategy device higher_is_better "
    "algorithm_parameters suite_parameters"
).split()


def record_rows(record: Record) -> Iterator[dict[str, Any]]:
    """The table rows of one record: its fields, flat."""
    trial, budget = record.trial, record.trial.budget
    shared = {
        "trial_id": trial.id,
        **{name: getattr(trial, name) for name in ("algorithm", "suite", "seed", "precision")},
        **{name: getattr(record, name) for name in COLUMNS if name in Record.__struct_fields__},
        **{name: getattr(budget, name) for name in COLUMNS if name in budget.__struct_fields__},
        "algorithm_parameters": trial.algorithm_parameters,
        "suite_parameters": trial.suite_parameters,
        "device": record.provenance.get("device"),
    }
    missing = {"score": None, "ci95": None, "transductive": None}
    tested: list[tuple[str, dict[str, Any]]] = [
        (protocol, {name: getattr(test, name) for name in missing}) for protocol, test in record.tests.items()
    ]
    for protocol, values in tested or [(trial.protocol, missing)]:
        row = {**shared, **values, "protocol": protocol}
        yield {name: row[name] for name in COLUMNS}


def load_tasks(root: str | Path) -> DataFrame:
    """A row per trial, protocol, test task and inner step, with a column for each metric."""
    import numpy as np
    import pandas as pd

    frames = []
    for record in records(root):
        for protocol, metrics in scores(root, record).items():
            values = {name: np.asarray(steps) for name, steps in metrics.items()}
            steps, tasks = next(iter(values.values())).shape
            frames.append(
                pd.DataFrame(
                    {
                        "trial_id": record.trial.id,
                        "algorithm": record.trial.algorithm,
                        "suite": record.trial.suite,
                        "seed": record.trial.seed,
                        "protocol": protocol,
                        "step": np.repeat(np.arange(steps), tasks),
                        "task": np.tile(np.arange(tasks), steps),
                        **{name: value.ravel() for name, value in values.items()},
                    }
                )
            )
    columns = ["trial_id", "algorithm", "suite", "seed", "protocol", "step", "task"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
