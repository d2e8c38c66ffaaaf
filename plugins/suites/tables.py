"""A CSV file of one's own as tasks: read, checked, split, and scaled by the training tasks alone."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metabench.api import split_by_hash
from metabench_plugins.suites.csv_file import FaultError, line_of, read_csv
from metabench_plugins.suites.own_data import ALIASES, SPLITS, digest_of, locate, plain

LARGEST = 1e100
"""Beyond, sums of squares would overflow."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
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
    notes: tuple[str, ...] = ()
    """See Suite."""
    digest: str = ""
    """Of the file."""


def read_table(path: str, columns: Columns, kind: str, least: int) -> Table:
    """The file, read and checked; kept, since a suite is built more than once. Raises ValueError in one line."""
    place = locate(path)
    about = os.stat(place)
    return kept_table(path, str(place), (about.st_mtime_ns, about.st_ctime_ns, about.st_size), columns, kind, least)


@functools.lru_cache(maxsize=4)
def kept_table(path: str, place: str, stamp: tuple[int, ...], columns: Columns, kind: str, least: int) -> Table:
    """See read_table."""
    try:
        return checked(read_csv(Path(place)), columns, kind, least)._replace(digest=digest_of(Path(place)))
    except FaultError as error:
        raise ValueError(f"'{path}': {error} in row {line_of(Path(place), error.place)}.") from None
    except (ValueError, OSError, RecursionError) as error:  # pandas' own errors of reading are ValueErrors
        raise ValueError(f"'{path}': {' '.join(str(error).split()).rstrip('.')}.") from None


def checked(frame: pd.DataFrame, columns: Columns, kind: str, least: int) -> Table:
    """See read_table."""
    columns = Columns(
        plain(columns.task), plain(columns.target), plain(columns.split), tuple(map(plain, columns.features))
    )
    own = [name for name in (columns.task, columns.target, columns.split) if name]
    for name in (*own, *columns.features):
        if name not in frame.columns:
            raise ValueError(f"there is no column '{name}'; there are {', '.join(map(str, frame.columns[:20]))}")
        if (*own, *columns.features).count(name) > 1:
            raise ValueError(f"column '{name}' cannot be two of task, target, split and features")
    features = list(columns.features) or [name for name in frame.columns if name not in own]
    if not features:
        raise ValueError("there is no column left for features")
    if frame.empty:
        raise ValueError("it has a header, but no rows")
    notes: list[str] = []
    tasks = labels(frame, columns.task, notes)
    of = splits_of(frame, tasks, columns.split)
    train = (tasks.map(of) == "train").to_numpy()
    if not train.any():
        raise ValueError("no task is in the train split")
    x = np.stack([standardised(numbers(frame, name), name, train) for name in features], 1)
    classes: tuple[str, ...] = ()
    if kind == "classification" or (kind == "auto" and looks_like_classes(texts(frame, columns.target))):
        y, classes = as_classes(labels(frame, columns.target, notes), tasks.map(of))
    else:
        target = numbers(frame, columns.target)
        if np.ptp(target[train]) == 0:
            raise ValueError(
                f"column '{columns.target}' is {target[train][0]:g} in all training tasks: nothing to learn"
            )
        y = standardised(target, columns.target, train)[:, None]
    return Table({name: part(x, y, tasks, of, name, least) for name in SPLITS}, classes, tuple(notes))


def texts(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column without gaps."""
    column = frame[name].str.strip()
    gaps = (column == "").to_numpy()
    if gaps.any():
        raise FaultError(int(gaps.argmax()), f"column '{name}' is empty")
    return column


def labels(frame: pd.DataFrame, name: str, notes: list[str]) -> pd.Series:
    """A column of names, read in one way: in one normal form, and where all are numbers equal ones are one name.

    That is the shortest way in which it is written; a note says where there is more than one.
    """
    column = texts(frame, name).map(plain)
    written = sorted(column.unique(), key=lambda text: (len(text), text))
    if not all(NUMBER.fullmatch(text) for text in written):
        return column
    first: dict[Decimal, str] = {}
    other = {text: shortest for text in written if (shortest := first.setdefault(Decimal(text), text)) != text}
    if other:
        text, shortest = next(iter(other.items()))
        notes.append(
            f"column '{name}' writes {len(other)} numbers in more than one way: '{text}' is read as '{shortest}'"
        )
    return column.replace(other) if other else column


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of finite numbers, of a size that can be reckoned with."""
    column = texts(frame, name)
    values: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise FaultError(place, f"column '{name}' must hold numbers, but has '{column.iloc[place][:50]}'")
    large = np.abs(values) > LARGEST
    if large.any():
        place = int(large.argmax())
        raise FaultError(
            place, f"column '{name}' has numbers beyond {LARGEST:g}, which would overflow: {column.iloc[place][:50]}"
        )
    return values


def looks_like_classes(column: pd.Series) -> bool:
    """Whether a target without gaps is text, or few distinct whole numbers."""
    values = pd.to_numeric(column, errors="coerce")
    return bool(values.isna().any() or (values.nunique() <= FEW and (values % 1 == 0).all()))


def as_classes(names: pd.Series, splits: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Names as indices of the classes that training tasks have."""
    classes = sorted(set(names[splits == "train"]))
    unseen = ~names.isin(classes).to_numpy()
    if unseen.any():
        place = int(unseen.argmax())
        raise FaultError(place, f"no training task has the class '{names.iloc[place]}'")
    if len(classes) < 2:
        raise ValueError(f"the training tasks have one class only, '{classes[0]}'")
    return pd.Index(classes).get_indexer(names), tuple(classes)


def splits_of(frame: pd.DataFrame, tasks: pd.Series, column: str) -> dict[str, str]:
    """The split of each task."""
    if not column:
        return split_by_hash(set(tasks))
    found: dict[str, str] = {}
    for place, (task, split) in enumerate(zip(tasks, texts(frame, column))):
        given = ALIASES.get(split.lower())
        if given is None:
            raise FaultError(place, f"column '{column}' must say train, validation or test, not '{split}'")
        if found.setdefault(task, given) != given:
            raise FaultError(place, f"task '{task}' is in two splits, see the one")
    return found


def standardised(values: np.ndarray, name: str, train: np.ndarray) -> np.ndarray:
    """Centred and scaled by the training rows (rows,); a constant column is centred only.

    Raises FaultError for a number that float32 cannot hold then.
    """
    centred = values - values[train].mean()
    most = np.abs(centred[train]).max()  # scaled by it first, so that no square is lost: 1e-200 has none
    varies = np.ptp(values[train]) > 0  # the deviation of a constant may be 1e-17
    scaled: np.ndarray = centred / (most * np.sqrt(np.square(centred[train] / most).mean())) if varies else centred
    lost = ~(np.abs(scaled) <= np.finfo(np.float32).max)
    if lost.any():
        raise FaultError(int(lost.argmax()), f"column '{name}' is too far from its training values to be scaled")
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
