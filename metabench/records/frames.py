"""Records as pandas tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame
from metabench.records.store import records, scores


def load(root: str | Path) -> DataFrame:
    """A row per trial (and per protocol, where a trial was tested under both)."""
    import pandas as pd

    rows = [row for record in records(root) for row in record_rows(record)]
    return pd.DataFrame(rows, columns=None if rows else list(COLUMNS))


COLUMNS = (
    "trial_id algorithm suite seed status reason metric score ci95 transductive protocol precision updates "
    "meta_batch_size test_steps test_tasks selection selected_update train_seconds sample_seconds "
    "prepare_seconds validation_seconds checkpoint_seconds test_seconds adapt_ms peak_memory_mb strategy device "
    "higher_is_better algorithm_parameters suite_parameters"
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
        "device": record.provenance.device,
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
