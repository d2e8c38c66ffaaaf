"""Records as pandas tables."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.records.columns import COLUMNS, Column, of_trials, trial_values
from metabench.records.matching import mismatches
from metabench.records.record import Record, Scores
from metabench.records.store import records, scores
from metabench.records.trials import Trial

if TYPE_CHECKING:
    from pandas import DataFrame


def load(root: str | Path, columns: Iterable[Column] = COLUMNS) -> DataFrame:
    """One row per trial, and per protocol where a trial was tested under both.

    Warns where trials that should match were computed from other code or data: see the column `digests`.
    """
    import pandas as pd

    shown = of_trials(columns)
    rows = [row for record in matched(root) for row in record_rows(record, shown)]
    frame = pd.DataFrame(rows, columns=None if rows else [column.name for column in shown])
    return frame if "digests" not in frame or frame["digests"].any() else frame.drop(columns="digests")


def matched(root: str | Path) -> list[Record]:
    """The records of a folder; with a warning where some were computed from other code or data than others."""
    found = list(records(root))
    for line in mismatches(found):
        warnings.warn(f"'{root}': {line} The column 'digests' tells them apart.", stacklevel=3)
    return found


def record_rows(record: Record, columns: Iterable[Column]) -> Iterator[dict[str, Any]]:
    """The rows of one record: by protocol, under the trial's own where there was no test."""
    for protocol in record.tests or (record.trial.protocol,):
        yield trial_values(record, protocol, columns)


def load_tasks(root: str | Path) -> DataFrame:
    """One row per trial, protocol, test task and inner step, with a column for each metric."""
    import pandas as pd

    frames = [frame for record in matched(root) if len(frame := task_rows(record.trial, scores(root, record)))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(TASK_COLUMNS))


TASK_COLUMNS = ("trial_id", "algorithm", "suite", "seed", "protocol", "step", "task")


def task_rows(trial: Trial, found: Scores) -> DataFrame:
    """See load_tasks: the rows of one trial."""
    import numpy as np
    import pandas as pd

    frames = []
    for protocol, metrics in found.items():
        values = {name: np.asarray(steps) for name, steps in metrics.items()}
        steps, tasks = next(iter(values.values())).shape
        which = (trial.id, trial.algorithm, trial.suite, trial.seed, protocol)
        places = (np.repeat(np.arange(steps), tasks), np.tile(np.arange(tasks), steps))
        row = dict(zip(TASK_COLUMNS, (*which, *places), strict=True))
        frames.append(pd.DataFrame({**row, **{name: value.ravel() for name, value in values.items()}}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(TASK_COLUMNS))
