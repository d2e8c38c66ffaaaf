"""A CSV file of one's own as tasks: read, checked, split, and scaled by the training tasks alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metabench_plugins.suites.own_data import ALIASES, SPLITS, by_hash, locate

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


@functools.lru_cache(maxsize=4)
def read_table(path: str, columns: Columns, kind: str, least: int) -> Table:
    """The file, read and checked; kept, since a suite is built more than once. Raises ValueError in one line."""
    place = locate(path)
    try:
        return checked(read_csv(place), columns, kind, least)
    except (ValueError, OSError, RecursionError) as error:  # pandas' own errors of reading are ValueErrors
        raise ValueError(f"'{path}': {' '.join(str(error).split()).rstrip('.')}.") from None


def read_csv(place: Path) -> pd.DataFrame:
    """Every cell as text, also one that says NA; never unpacked, whatever the file is called."""
    if not place.is_file():
        raise ValueError("it is no file")
    if place.stat().st_size > SIZE_LIMIT:
        raise ValueError(f"it is larger than {SIZE_LIMIT:,} bytes")
    frame = pd.read_csv(
        place, dtype=str, keep_default_na=False, skipinitialspace=True, skip_blank_lines=False,
        compression=None, encoding="utf-8-sig",
    )  # fmt: skip
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the surplus for row names, and moves the rest
        raise ValueError("its rows have more cells than its header")
    return frame.fillna("")  # the cells that a short row lacks


def checked(frame: pd.DataFrame, columns: Columns, kind: str, least: int) -> Table:
    """See read_table."""
    own = [name for name in (columns.task, columns.target, columns.split) if name]
    for name in (*own, *columns.features):
        if name not in frame.columns:
            raise ValueError(f"there is no column '{name}'; there are {', '.join(map(str, frame.columns[:20]))}")
        if (*own, *columns.features).count(name) > 1:
            raise ValueError(f"column '{name}' cannot be two of task, target, split and features")
    features = list(columns.features) or [name for name in frame.columns if name not in own]
    if not features:
        raise ValueError("there is no column left for features")
    if any(name.startswith("Unnamed: ") for name in features):  # so pandas calls it; it once wrote it, more likely
        raise ValueError("a column has no name, like row numbers that nobody wants: remove it, or say features")
    tasks = texts(frame, columns.task)
    of = splits_of(frame, tasks, columns.split)
    x = np.stack([numbers(frame, name) for name in features], 1)
    classes: tuple[str, ...] = ()
    if kind == "classification" or (kind == "auto" and looks_like_classes(texts(frame, columns.target))):
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
    column = frame[name].str.strip()
    gaps = (column == "").to_numpy()
    if gaps.any():
        raise ValueError(f"column '{name}' is empty in row {row_of(int(gaps.argmax()))}")
    return column


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of finite numbers."""
    column = texts(frame, name)
    values: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"column '{name}' must hold numbers, but has '{column.iloc[place][:50]}' in row {row_of(place)}"
        )
    return values


def looks_like_classes(column: pd.Series) -> bool:
    """Whether a target without gaps is text, or few distinct whole numbers."""
    values = pd.to_numeric(column, errors="coerce")
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
    varies = np.ptp(values[train], 0) > 0  # the deviation of a constant may be 1e-17
    scaled: np.ndarray = (values - values[train].mean(0)) / np.where(varies, values[train].std(0), 1.0)
    return scaled


def part(x: np.ndarray, y: np.ndarray, tasks: pd.Series, of: dict[str, str], split: str, least: int) -> Split:
    """The rows of one split, task after task."""
    names = sorted(name for name, given in of.items() if given == split)
    if not names:
        raise ValueError(f"no task is in the {split} split")
    codes = pd.Index(names).get_indexer(tasks)
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
