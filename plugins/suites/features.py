"""Few-shot classification on features that something else has made: sentences, CLIP's images, LEO's embeddings."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
import torch

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
    split_by_hash,
)
from metabench_plugins.suites.backbones import mlp
from metabench_plugins.suites.own_data import ALIASES, SPLITS, digest_of, given_split, locate, members, plain

Scale = Literal["train", "unit", "none"]
LARGEST = 1e30
"""Beyond, squares would overflow in float32."""


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"features": features}


def features(
    *,
    path: str = "",
    split: str = "",
    scale: Scale = "train",
    ways: Annotated[int, Range(ge=2)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Literal["linear", "mlp"] = "mlp",
    width: Size = 64,
    min_images: Literal["refuse", "drop"] = "refuse",
) -> Suite:
    """Features of your own: an .npz of `features` (points, dimensions) and `labels` (points,), any names or numbers.

    So embeddings of text, CLIP's or LEO's become a suite. Classes are split by a file, by an array `splits` (points,)
    of train, validation and test in the .npz, or else by the hash of their names, 60% to train, 20% to validate.

    Args:
        path: The .npz file, as it stands or below METABENCH_DATA.
        split: A file: JSON {"class": "train", ...} or CSV with rows `class,train`; classes that it leaves out are not
            used.
        scale: `train` centres and scales every dimension by the training classes, `unit` makes every point one long,
            `none` takes the features as they are.
        ways: Classes of a task.
        shots: Points of each class in the support set.
        queries: Points of each class in the query set.
        model: A linear layer, or one hidden layer with ReLU before it.
        width: Units of the hidden layer.
        min_images: What becomes of a class with fewer than shots + queries points: the data are refused, or the class
            is dropped, after the split, and named.
    """
    shape = Shape(ways, shots, queries)
    if not path:
        raise ValueError("path must name an .npz file: --set features.path=FILE.npz")
    load = functools.cache(functools.partial(load_splits, path, split, scale))

    def network() -> torch.nn.Module:
        dimensions = load().images["train"].pixels.shape[1]
        return mlp(dimensions, (width,) if model == "mlp" else (), ways)

    return image_suite("features", shape, load, network, {"quick": QUICK}, min_images)


def load_splits(path: str, split: str, scale: Scale) -> Splits:
    """By split its points; raises DataError in one line that names the file."""
    try:
        place = locate(path)
        x, names, given = read(place)
        of = splits_of(names, given, split)
        notes = (
            [] if set(of) == set(names) else [f"'{path}': the split leaves out {len(set(names)) - len(of)} classes"]
        )
        rows = [row for row in np.argsort(names, kind="stable").tolist() if names[row] in of]
        train = np.array([of.get(name) == "train" for name in names])
        points = torch.from_numpy(scaled(x, train, scale)[rows])
    except Exception as error:  # a damaged archive makes numpy raise almost anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"Suite 'features': '{path}' cannot be used: {kind}{text}.") from None
    classes = of_classes(points, [names[row] for row in rows])
    found = {each: classes.only(members(of, each)) for each in SPLITS}
    return Splits(found, tuple(notes), digest_of(place) + ("" if not split else digest_of(locate(split))))


def read(place: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Features float64 (points, dimensions), the class of each point, and its split where the file has it."""
    with np.load(place, allow_pickle=False) as archive:
        missing = [name for name in ("features", "labels") if name not in archive]
        if missing:
            raise ValueError(f"it holds no array '{missing[0]}'; there are {', '.join(archive.files[:20])}")
        x, labels = archive["features"], archive["labels"]
        splits = archive["splits"] if "splits" in archive else np.zeros(0, "U1")
    if x.ndim != 2 or x.dtype.kind not in "fiu" or not x.size:
        raise ValueError(f"its features must be numbers (points, dimensions), not {x.dtype} {x.shape}")
    if labels.shape != x.shape[:1] or splits.shape not in (x.shape[:1], (0,)):
        raise ValueError(f"it has {len(x)} points, but labels {labels.shape} and splits {splits.shape}")
    x = x.astype(np.float64)
    bad = ~(np.abs(x) <= LARGEST).all(1)
    if bad.any():
        raise ValueError(f"point {int(bad.argmax())} has a feature that is no number, or beyond {LARGEST:g}")
    return x, [named(label) for label in labels.tolist()], [str(each) for each in splits.tolist()]


def named(label: object) -> str:
    """A class's name: 1 and 1.0 are one."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return plain(label.decode() if isinstance(label, bytes) else str(label))


def splits_of(names: list[str], given: list[str], split: str) -> dict[str, str]:
    """The split of each class that is used; raises ValueError."""
    if split:
        found = given_split(locate(split).read_bytes(), PurePosixPath(split).suffix.lower())
        unknown = sorted(found.keys() - set(names))
        if unknown:
            raise ValueError(
                f"the split file names {len(unknown)} classes that are not there, such as '{unknown[0]}'"
            )
        return found
    if not given:
        return split_by_hash(set(names))
    of: dict[str, str] = {}
    for name, each in zip(names, given):
        if each.lower() not in ALIASES:
            raise ValueError(f"its splits must say train, validation or test, not '{each}'")
        if of.setdefault(name, ALIASES[each.lower()]) != ALIASES[each.lower()]:
            raise ValueError(f"class '{name}' is in two splits")
    return of


def scaled(x: np.ndarray, train: np.ndarray, scale: Scale) -> np.ndarray:
    """The features as the model reads them, float32; raises ValueError where none varies in training."""
    if scale == "train":
        spread = np.ptp(x[train], 0)
        if not (spread > 0).any():
            raise ValueError("no feature varies in the training classes")
        x = (x - x[train].mean(0)) / np.where(spread > 0, x[train].std(0), 1.0)
    if scale == "unit":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x.astype(np.float32)


QUICK = Recipe(
    source="No paper's: set by hand, not tuned",
    budget={
        "updates": 500,
        "meta_batch_size": 8,
        "validations": 5,
        "validation_tasks": 100,
        "test_steps": 5,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 5}},
    shared={"inner_lr": 0.1, "inner_steps": 3, "outer_lr": 1e-3, "train_lr": 1e-3},
)
