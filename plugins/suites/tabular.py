"""Few-shot learning on a table of one's own: the rows of one task belong together."""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from metabench.api import (
    Batch,
    Predict,
    Recipe,
    Size,
    Suite,
    SuiteFactory,
    Task,
    classification_scores,
    cross_entropy,
    distinct,
    hookimpl,
)
from metabench_plugins.suites.backbones import mlp
from metabench_plugins.suites.sinusoid import mean_squared_error


def tabular(
    *,
    path: str = "",
    task: str = "task",
    target: str = "target",
    split: str = "",
    features: tuple[str, ...] = (),
    kind: Literal["auto", "regression", "classification"] = "auto",
    shots: Size = 10,
    queries: Size = 10,
    width: Size = 40,
) -> Suite:
    """Your own table: a CSV file whose rows belong to tasks (column `task`) and have a `target`.

    Without a column for the split, tasks are split by the hash of their names, 60% to train, 20% to validate, 20% to
    test. A class that no training task has is refused.

    A task's rows are drawn again each time, and it needs `shots` + `queries` of them.
    Features, and the target of a regression, are centred and scaled by the rows of the training tasks alone; the
    mean squared error is therefore in units of the training targets' variance. MLP of two hidden layers.

    Args:
        path: The CSV file.
        task: Column with the name of the task that a row belongs to.
        target: Column to predict.
        split: Column with train, validation or test, the same for all rows of a task; empty splits by hash.
        features: Columns to predict from, all numbers; none takes all but those of task, target and split.
        kind: What the target is; auto takes text, or up to 20 distinct whole numbers, for classes.
        shots: Rows of a task in its support set.
        queries: Rows of a task in its query set.
        width: Units of each hidden layer.
    """
    if not path:
        raise ValueError("path must name a CSV file: --set tabular.path=FILE.csv")
    from metabench_plugins.suites.tables import Columns, read_table  # pandas, which no other suite waits for

    columns = Columns(task, target, split, tuple(features))
    load = functools.cache(functools.partial(read_table, path, columns, kind, shots + queries))
    classify = kind == "classification" or (kind == "auto" and bool(load().classes))

    def sample(split: str, n: int, generator: Generator) -> Task:
        rows = load().splits[split]
        chosen = torch.randint(len(rows.counts), (n,), generator=generator)
        first = (rows.counts.cumsum(0) - rows.counts)[chosen]
        index = first[:, None] + distinct(n, shots + queries, rows.counts[chosen], generator)
        x, y = rows.x[index], rows.y[index]
        return Task(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def prepare() -> None:
        load()

    def model() -> torch.nn.Module:
        table = load()
        return mlp(table.splits["train"].x.shape[1], (width, width), len(table.classes) or 1)

    return Suite(
        sample=sample,
        model=model,
        loss=cross_entropy if classify else mean_squared_error,
        metrics=classification_scores if classify else errors,
        higher_is_better=classify,
        groups=lambda split: frozenset(load().splits[split].names),
        recipes={"quick": QUICK},
        prepare=prepare,
        notes=lambda: tuple(f"'{path}': {note}" for note in load().notes),
        digest=lambda: load().digest,
    )


def errors(predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The mean squared and the mean absolute error."""
    return {"mse": mean_squared_error(predict, batch), "mae": F.l1_loss(predict(batch.x), batch.y)}


QUICK = Recipe(
    source="No paper's: set by hand, not tuned",
    budget={
        "updates": 500,
        "meta_batch_size": 16,
        "validations": 5,
        "validation_tasks": 200,
        "test_steps": 5,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 5}},
    shared={"inner_lr": 0.05, "inner_steps": 3, "outer_lr": 1e-3, "train_lr": 1e-3},
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"tabular": tabular}
