"""Records as pandas tables: every column flat, every value one that can be grouped by and written to any file."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from metabench.records.columns import COLUMNS, Column, as_text, of_trials, trial_values
from metabench.records.matching import mismatches
from metabench.records.packs import opened
from metabench.records.record import Record, Scores, ValidationPoint
from metabench.records.store import records, scores
from metabench.records.trials import Trial

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Function = TypeVar("Function", bound=Callable[..., Any])

FIRST = ("algorithm", "suite", "seed", "score", "ci95", "metric", "protocol", "status", "reason")
"""What a reader looks for comes first."""

TASK_COLUMNS = {
    "algorithm": "The algorithm's name.",
    "suite": "The suite's name.",
    "seed": "The trial's seed.",
    "protocol": "transductive or inductive.",
    "step": "Inner steps taken: 0 is before adaptation.",
    "task": "The test task, from 0; the same number is the same task for every trial of the suite.",
    "trial_id": "The folder of the trial's record.",
}


def with_columns(described: dict[str, str]) -> Callable[[Function], Function]:
    """Add what each column is to the docstring of a function that makes a DataFrame."""

    def add(function: Function) -> Function:
        lines = (f"* `{name}`: {help_text}" for name, help_text in described.items())
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Its columns:", "", *lines])
        return function

    return add


def in_order(columns: Iterable[Column]) -> list[Column]:
    """Those of a trial, what a reader looks for first."""
    return sorted(of_trials(columns), key=lambda column: FIRST.index(column.name) if column.name in FIRST else 99)


@with_columns(
    {column.name: column.help for column in in_order(COLUMNS)}
    | {"NAME.PARAMETER": "Of the algorithms and suites, each parameter; empty for others."}
)
def load(root: str | Path, columns: Iterable[Column] = COLUMNS) -> DataFrame:
    """One row per trial, and per protocol where a trial was tested under both.

    Warns where trials that should match were computed from other code or data: see the column `digests`.
    A notebook shows its numbers with the digits that they deserve; they themselves are exact.
    """
    return trial_table(matched(opened(root)), columns)


def trial_table(found: Iterable[Record], columns: Iterable[Column] = COLUMNS) -> DataFrame:
    """See load: of these records."""
    import pandas as pd

    from metabench.records.tables import Table

    shown = in_order(columns)
    pairs = [(row, parameters_of(record.trial)) for record in found for row in record_rows(record, shown)]
    frame = pd.DataFrame([row for row, _ in pairs], columns=None if pairs else [column.name for column in shown])
    names = dict.fromkeys(name for _, own in pairs for name in own)
    own = {name: one_type(pd.Series([values.get(name) for _, values in pairs], dtype=object)) for name in names}
    frame = Table(pd.concat([frame, pd.DataFrame(own)], axis=1) if own else frame)
    return frame if "digests" not in frame or frame["digests"].any() else frame.drop(columns="digests")


def one_type(values: Series[Any]) -> Series[Any]:
    """A column of parameters as numbers, truths or texts, with gaps where a trial has none of that name."""
    found = {type(value) for value in values if value is not None}
    if found <= {int, float} or found == {bool}:
        return values.astype("boolean" if found == {bool} else "Int64" if found == {int} else float)
    return values.map(lambda value: value if value is None or isinstance(value, str) else as_text(value))


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


def parameters_of(trial: Trial) -> dict[str, Any]:
    """Those of its suite and its algorithm, by `NAME.PARAMETER`."""
    named = (trial.suite, trial.suite_parameters), (trial.algorithm, trial.algorithm_parameters)
    return {f"{name}.{parameter}": value for name, values in named for parameter, value in values.items()}


@with_columns({**TASK_COLUMNS, "METRIC": "One column for each metric of the suites: the score of this task."})
def load_tasks(root: str | Path) -> DataFrame:
    """One row per trial, protocol, test task and inner step, with a column for each metric."""
    root = opened(root)
    return task_table(root, matched(root))


def task_table(root: str | Path, found: Iterable[Record]) -> DataFrame:
    """See load_tasks: of these records, which are those of a folder."""
    import pandas as pd

    from metabench.records.tables import Table

    frames = [frame for record in found if len(frame := task_rows(record.trial, scores(root, record)))]
    return Table(pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(TASK_COLUMNS)))


def task_rows(trial: Trial, found: Scores) -> DataFrame:
    """See load_tasks: the rows of one trial."""
    import numpy as np
    import pandas as pd

    frames = []
    for protocol, metrics in found.items():
        values = {name: np.asarray(steps) for name, steps in metrics.items()}
        steps, tasks = next(iter(values.values())).shape
        frames.append(
            pd.DataFrame(
                {
                    "algorithm": trial.algorithm,
                    "suite": trial.suite,
                    "seed": trial.seed,
                    "protocol": protocol,
                    "step": np.repeat(np.arange(steps), tasks),
                    "task": np.tile(np.arange(tasks), steps),
                    **{name: value.ravel() for name, value in values.items()},
                    "trial_id": trial.id,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(TASK_COLUMNS))


def curve_table(found: Iterable[Record]) -> DataFrame:
    """One row per trial and validation point: the meta-update, and all that is known there."""
    import pandas as pd

    named = ("algorithm", "suite", "seed")
    rows = [
        {name: getattr(record.trial, name) for name in named}
        | {name: getattr(point, name) for name in ValidationPoint.__struct_fields__}
        | {"trial_id": record.trial.id}
        for record in found
        for point in record.curve
    ]
    return pd.DataFrame(rows, columns=[*named, *ValidationPoint.__struct_fields__, "trial_id"])
