"""Few-shot classification of time series: class folders of CSV or .npz files, or files as UCR's archive has them."""

from __future__ import annotations

import csv
import functools
import io
from collections import OrderedDict
from collections.abc import Callable
from posixpath import splitext
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from metabench.api import (
    DataError,
    Range,
    Recipe,
    Shape,
    Size,
    Splits,
    Suite,
    SuiteFactory,
    hookimpl,
    image_suite,
    of_classes,
)
from metabench_plugins.suites.backbones import mlp
from metabench_plugins.suites.image_files import content_of
from metabench_plugins.suites.image_folder import bare, classes_of, splits_of
from metabench_plugins.suites.image_source import Source, opened
from metabench_plugins.suites.own_data import SPLITS, digest_of_names, locate, members

LIMIT = 2**28
"""Bytes of a file."""
Scale = Literal["series", "none"]


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"series": series}


def series(
    *,
    path: str = "",
    split: str = "",
    length: Annotated[int, Range(ge=8, le=100_000)] = 128,
    scale: Scale = "series",
    ways: Annotated[int, Range(ge=2)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Literal["fcn", "mlp"] = "fcn",
    filters: Size = 64,
    min_images: Literal["refuse", "drop"] = "refuse",
) -> Suite:
    """Time series of your own: a folder or zip file of class folders, a series a file, or UCR's `NAME_TRAIN.tsv`.

    A `.csv` has a row for each moment and a column for each channel, numbers alone but for a first row of names; an
    `.npz` one array (moments,) or (moments, channels). UCR's files (`.tsv`, in no class folder) have a row for each
    series of one channel, the class first; all of a folder are pooled, and empty or NaN ends are left out. Classes
    are split as those of `image-folder` are: by a split file, by folders called train, val and test, or by names.

    Args:
        path: The folder or zip file.
        split: A file, beside the series or anywhere: JSON {"class": "train", ...} or CSV with rows `class,train`.
        length: Moments that every series is brought to, by linear interpolation.
        scale: `series` gives every channel of every series mean 0 and deviation 1, as is usual for UCR's.
        ways: Classes of a task.
        shots: Series of each class in the support set.
        queries: Series of each class in the query set.
        model: `fcn` is the fully convolutional network of Wang, Yan and Oates 2017, arXiv 1611.06455; `mlp` has one
            hidden layer.
        filters: Filters of its first and last convolution, the second has twice as many; units of the hidden layer.
        min_images: What becomes of a class with fewer than shots + queries series: the data are refused, or the class
            is dropped, after the split, and named.
    """
    if not path:
        raise ValueError("path must name a folder or zip file of class folders: --set series.path=FOLDER")
    load = functools.cache(functools.partial(load_splits, path, split, length, scale))

    def network() -> nn.Module:
        channels = load().images["train"].pixels.shape[1]
        if model == "fcn":
            return fcn(channels, filters, ways)
        return nn.Sequential(nn.Flatten(), mlp(channels * length, (filters,), ways))

    return image_suite("series", Shape(ways, shots, queries), load, network, {"quick": QUICK}, min_images)


def fcn(channels: int, filters: int, ways: int) -> nn.Module:
    """Three convolutions with BatchNorm, the mean over time, linear: (n, channels, length) to (n, ways)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    widths = (channels, filters, 2 * filters, filters)
    for number, (before, after, kernel) in enumerate(zip(widths, widths[1:], (7, 5, 3)), start=1):
        layers[f"conv{number}"] = nn.Conv1d(before, after, kernel, padding=kernel // 2)
        layers[f"norm{number}"] = nn.BatchNorm1d(after, track_running_stats=False)
        layers[f"relu{number}"] = nn.ReLU()
    layers["mean"] = MeanOverTime()
    layers["head"] = nn.Linear(filters, ways)
    return nn.Sequential(layers)


class MeanOverTime(nn.Module):
    """(n, channels, length) to (n, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)


def load_splits(path: str, split: str, length: int, scale: Scale) -> Splits:
    """By split its series; raises DataError in one line that names the file."""
    try:
        with opened(locate(path)) as source:
            files, rows = read_all(source, split)
            digest = content_of(source, files, LIMIT)
            of = splits_of(sorted({name for name, _ in rows}), split, source)
        rows = sorted((row for row in rows if row[0] in of), key=lambda row: (row[0], row[1].tobytes()))
        channels = {each.shape[1] for _, each in rows}
        if len(channels) > 1:
            raise ValueError(f"its series have {' and '.join(map(str, sorted(channels)))} channels")
        points = torch.from_numpy(np.stack([made(each, length, scale) for _, each in rows]))
    except DataError as error:
        raise DataError(f"Suite 'series': '{path}': {error}") from None
    except Exception as error:  # damaged archives make zipfile and numpy raise almost anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'series': '{path}' cannot be used: {kind}{' '.join(str(error).split())}.") from None
    classes = of_classes(points, [name for name, _ in rows])
    found = {each: classes.only(members(of, each)) for each in SPLITS}
    named = {each: part._replace(names=tuple(map(bare, part.names))) for each, part in found.items()}
    return Splits(named, (), f"{digest[:16]}{digest_of_names(of)}-{length}-{scale}")


def read_all(source: Source, split: str) -> tuple[list[str], list[tuple[str, np.ndarray]]]:
    """The files that are read, and of each series its class and itself (moments, channels). Raises ValueError."""
    tables = [file for file in source.files if splitext(file)[1].lower() == ".tsv"]
    if tables:
        return tables, [row for file in tables for row in read_ucr(source.read(file, LIMIT), file)]
    files = [file for file in source.files if splitext(file)[1].lower() in READERS and file != split]
    files = [file for file in files if "/" in file]
    if not files:
        raise ValueError("it holds no .csv or .npz in class folders, and no .tsv")
    return files, [
        (name, checked(READERS[splitext(file)[1].lower()](source.read(file, LIMIT)), file))
        for name, file in zip(classes_of(files), files)
    ]


def read_ucr(content: bytes, file: str) -> list[tuple[str, np.ndarray]]:
    """Rows of a class and the values of one series."""
    found = []
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
        name, *values = line.split("\t")
        while values and values[-1].strip().lower() in ("", "nan"):
            values.pop()
        where = f"{file}, row {number}"
        try:
            numbers = np.array(values, np.float64)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        found.append((name.strip(), checked(numbers, where)))
    return found


def read_csv(content: bytes) -> np.ndarray:
    """Numbers (moments, channels), without a first row of names."""
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    try:
        [float(cell) for cell in rows[0]]
    except (ValueError, IndexError):
        rows = rows[1:]
    return np.array(rows, np.float64)


def read_npz(content: bytes) -> np.ndarray:
    """The one array of an archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        if len(archive.files) != 1:
            raise ValueError(f"it holds {len(archive.files)} arrays, where one series is expected")
        return np.asarray(archive[archive.files[0]], np.float64)


READERS: dict[str, Callable[[bytes], np.ndarray]] = {".csv": read_csv, ".npz": read_npz}


def checked(values: np.ndarray, where: str) -> np.ndarray:
    """A series as (moments, channels); raises ValueError that names it for one without two moments, or with NaN."""
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2 or not values.shape[1] or not np.isfinite(values).all():
        raise ValueError(f"'{where}' is no series of at least two moments, all of them numbers")
    return values


def made(values: np.ndarray, length: int, scale: Scale) -> np.ndarray:
    """float32 (channels, length)."""
    at, old = np.linspace(0, 1, length), np.linspace(0, 1, len(values))
    channels = np.stack([np.interp(at, old, channel) for channel in values.T])
    if scale == "series":
        varies = np.ptp(channels, axis=1, keepdims=True) > 0  # a constant's deviation may be more than nothing
        deviation = np.where(varies, channels.std(1, keepdims=True), 1.0)
        channels = (channels - channels.mean(1, keepdims=True)) / deviation
    return channels.astype(np.float32)


QUICK = Recipe(
    source="No paper's: set by hand, not tuned",
    budget={
        "updates": 300,
        "meta_batch_size": 4,
        "validations": 5,
        "validation_tasks": 60,
        "test_steps": 5,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 5}},
    shared={"inner_lr": 0.1, "inner_steps": 3, "outer_lr": 1e-3, "train_lr": 1e-3},
)
