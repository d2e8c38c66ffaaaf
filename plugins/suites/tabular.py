"""Few-shot learning on a table of one's own: the rows of one task belong together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from metabench.api import Batch, Predict, Recipe, Suite, Task, hookimpl
from metabench_plugins.suites.backbones import mlp
from metabench_plugins.suites.fewshot import cross_entropy, distinct_of, scores
from metabench_plugins.suites.own_data import ALIASES, SPLITS, by_hash, locate
from metabench_plugins.suites.sinusoid import mean_squared_error

SIZE_LIMIT = 2 * 2**30
"""Bytes of a file."""
FEW = 20
"""Distinct whole numbers up to which a target is taken for classes."""


class Columns(NamedTuple):
    """Which column is what."""

    task: str
    target: str
    split: str
    features: tuple[str, ...]


class Split(NamedTuple):
    """The tasks of one split, row after row of each."""

    x: Tensor
    """float32 (rows, features), z-scored."""
    y: Tensor
    """float32 (rows, 1), z-scored; or int64 (rows,), classes."""
    counts: Tensor
    """int64 (tasks,): rows of each."""
    names: tuple[str, ...]


class Table(NamedTuple):
    """A file that was read and checked."""

    splits: dict[str, Split]
    classes: tuple[str, ...]
    """Of the target; none for regression."""


def tabular(
    *,
    path: str = "",
    task: str = "task",
    target: str = "target",
    split: str = "",
    features: tuple[str, ...] = (),
    kind: Literal["auto", "regression", "classification"] = "auto",
    shots: int = 10,
    queries: int = 10,
    width: int = 40,
) -> Suite:
    """Your own table: a CSV file whose rows belong to tasks (column `task`) and have a `target`.

    `features` are the columns to predict from, all numbers; without any, all but those of task, target and split.
    `split` is a column with train, validation or test, the same for all rows of a task; without one, tasks are
    split by the hash of their names, 60% to train, 20% to validate, 20% to test. `kind` auto takes a target of
    text, or of up to 20 distinct whole numbers, for classes. A class that no training task has is refused.

    Every task gives `shots` support rows and `queries` query rows, drawn anew each time, so it needs that many.
    Features, and the target of a regression, are centred and scaled by the rows of the training tasks alone; the
    mean squared error is therefore in units of the training targets' variance. MLP of two hidden layers.
    """
    for name, value in (("shots", shots), ("queries", queries), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not path:
        raise ValueError("path must name a CSV file: --set tabular.path=FILE.csv")
    columns = Columns(task, target, split, features)
    load = functools.partial(read_table, path, columns, kind, shots + queries)
    classify = kind == "classification" or (kind == "auto" and bool(load().classes))

    def sample(split: str, n: int, generator: Generator) -> Task:
        rows = load().splits[split]
        chosen = torch.randint(len(rows.counts), (n,), generator=generator)
        first = (rows.counts.cumsum(0) - rows.counts)[chosen]
        index = first[:, None] + distinct_of(rows.counts[chosen], shots + queries, generator)
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
        metrics=scores if classify else errors,
        higher_is_better=classify,
        groups=lambda split: frozenset(load().splits[split].names),
        recipes={"quick": QUICK},
        prepare=prepare,
    )


def errors(predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The mean squared and the mean absolute error."""
    return {"mse": mean_squared_error(predict, batch), "mae": F.l1_loss(predict(batch.x), batch.y)}


@functools.lru_cache(maxsize=4)
def read_table(path: str, columns: Columns, kind: str, least: int) -> Table:
    """The file, read and checked; kept, since a suite is built more than once. Raises ValueError in one line."""
    place = locate(path)
    try:
        return checked(read_csv(place), columns, kind, least)
    except (ValueError, OSError, RecursionError) as error:  # pandas' own errors of reading are ValueErrors
        raise ValueError(f"'{path}': {' '.join(str(error).split()).rstrip('.')}.") from None


def read_csv(place: Path) -> pd.DataFrame:
    """Every cell as text; what is empty is NA."""
    if place.stat().st_size > SIZE_LIMIT:
        raise ValueError(f"it is larger than {SIZE_LIMIT:,} bytes")
    return pd.read_csv(place, dtype=str, skipinitialspace=True, encoding="utf-8-sig", skip_blank_lines=False)


def checked(frame: pd.DataFrame, columns: Columns, kind: str, least: int) -> Table:
    """See read_table."""
    own = [name for name in (columns.task, columns.target, columns.split) if name]
    for name in (*own, *columns.features):
        if name not in frame.columns:
            raise ValueError(f"there is no column '{name}'; there are {', '.join(map(str, frame.columns[:20]))}")
    features = list(columns.features) or [name for name in frame.columns if name not in own]
    if not features:
        raise ValueError("there is no column left for features")
    tasks = texts(frame, columns.task)
    of = splits_of(frame, tasks, columns.split)
    x = np.stack([numbers(frame, name) for name in features], 1)
    classes: tuple[str, ...] = ()
    if kind == "classification" or (kind == "auto" and looks_like_classes(frame[columns.target])):
        y, classes = as_classes(texts(frame, columns.target), tasks.map(of))
    else:
        y = numbers(frame, columns.target)[:, None]
    train = (tasks.map(of) == "train").to_numpy()
    if not train.any():
        raise ValueError("no task is in the train split")
    x = standardised(x, train)
    if not classes:
        y = standardised(y, train)
    return Table({name: part(x, y, tasks, of, name, least) for name in SPLITS}, classes)


def row_of(place: int) -> int:
    """What an editor calls a row: the header is row 1."""
    return place + 2


def texts(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column without gaps."""
    gaps = frame[name].isna().to_numpy()
    if gaps.any():
        raise ValueError(f"column '{name}' is empty in row {row_of(int(gaps.argmax()))}")
    return frame[name].str.strip()


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of finite numbers."""
    column = texts(frame, name)
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"column '{name}' must hold numbers, but has '{column.iloc[place][:50]}' in row {row_of(place)}"
        )
    return values


def looks_like_classes(column: pd.Series) -> bool:
    """Text, or few distinct whole numbers."""
    values = pd.to_numeric(column.dropna(), errors="coerce")
    return bool(values.isna().any() or (values.nunique() <= FEW and (values % 1 == 0).all()))


def as_classes(labels: pd.Series, splits: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as indices of the classes that training tasks have."""
    classes = sorted(set(labels[splits == "train"]))
    unseen = ~labels.isin(classes).to_numpy()
    if unseen.any():
        place = int(unseen.argmax())
        raise ValueError(f"class '{labels.iloc[place]}' in row {row_of(place)} occurs in no training task")
    if len(classes) < 2:
        raise ValueError(f"the training tasks have one class only, '{classes[0]}'")
    return np.searchsorted(np.array(classes), labels.to_numpy(str)), tuple(classes)


def splits_of(frame: pd.DataFrame, tasks: pd.Series, column: str) -> dict[str, str]:
    """The split of each task."""
    if not column:
        return by_hash(set(tasks))
    found: dict[str, str] = {}
    for place, (task, split) in enumerate(zip(tasks, texts(frame, column))):
        if split not in ALIASES:
            raise ValueError(
                f"column '{column}' must say train, validation or test, not '{split}' in row {row_of(place)}"
            )
        if found.setdefault(task, ALIASES[split]) != ALIASES[split]:
            raise ValueError(f"task '{task}' is in two splits, see row {row_of(place)}")
    return found


def standardised(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centred and scaled by the training rows (rows,); a constant column is centred only."""
    deviation = values[train].std(0)
    return (values - values[train].mean(0)) / np.where(deviation > 0, deviation, 1.0)


def part(x: np.ndarray, y: np.ndarray, tasks: pd.Series, of: dict[str, str], split: str, least: int) -> Split:
    """The rows of one split, task after task."""
    names = sorted(name for name, given in of.items() if given == split)
    if not names:
        raise ValueError(f"no task is in the {split} split")
    codes = pd.Categorical(tasks, categories=names).codes
    order = np.argsort(codes, kind="stable")[(codes < 0).sum() :]
    counts = np.bincount(codes[order], minlength=len(names))
    refuse_small(names, counts, least)
    targets = torch.from_numpy(y[order])
    return Split(
        torch.from_numpy(x[order]).float(),
        targets.float() if targets.is_floating_point() else targets,
        torch.from_numpy(counts),
        tuple(names),
    )


def refuse_small(names: Sequence[str], counts: np.ndarray, least: int) -> None:
    """Raise ValueError for a task that has too few rows."""
    few = int(counts.argmin())
    if counts[few] < least:
        small = int((counts < least).sum())
        raise ValueError(
            f"task '{names[few]}' has {counts[few]} rows, but shots + queries is {least}"
            + (f" ({small} tasks have too few)" if small > 1 else "")
        )


GRADIENT = {"inner_lr": 0.05, "inner_steps": 3, "outer_lr": 1e-3}
QUICK = Recipe(
    source="No paper's: tried by hand on validation tasks of the example in docs/suites.md",
    budget={
        "updates": 500,
        "meta_batch_size": 16,
        "validations": 5,
        "validation_tasks": 200,
        "test_steps": 5,
        "test_tasks": 600,
    },
    algorithms={
        **dict.fromkeys(("maml", "fomaml", "l2l-maml", "l2l-fomaml", "l2l-metasgd"), GRADIENT),
        "reptile": {"inner_lr": 0.05, "inner_steps": 5, "outer_lr": 1.0},
        "scratch": {"inner_lr": 0.05},
        "finetune": {"inner_lr": 0.05, "train_lr": 1e-3},
    },
)


@hookimpl
def register_suites():
    return {"tabular": tabular}
