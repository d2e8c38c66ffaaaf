"""Few-shot classification on the data sets that torchvision downloads and checks by itself."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from metabench.api import (
    DataError,
    Range,
    Shape,
    Size,
    Splits,
    Suite,
    SuiteFactory,
    cache_dir,
    cached_arrays,
    hookimpl,
    image_suite,
    in_parallel,
    mapped_array,
    of_classes,
    requires,
    split_by_hash,
)
from metabench_plugins.suites.backbones import RESNET12, RESNET12_NARROW, conv_pool, resnet12
from metabench_plugins.suites.colour import Model, colour_recipes
from metabench_plugins.suites.own_data import SPLITS, members

Name = Literal[
    "CIFAR10", "DTD", "EuroSAT", "FGVCAircraft", "FashionMNIST", "Flowers102", "Food101", "GTSRB", "KMNIST", "MNIST",
    "OxfordIIITPet", "STL10", "SVHN", "USPS",
]  # fmt: skip
VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""


class Known(NamedTuple):
    """A data set of torchvision."""

    classes: int
    channels: int
    parts: tuple[dict[str, Any], ...]
    """What each of its parts is made by; few-shot learning pools them."""


def of_splits(*names: str) -> tuple[dict[str, Any], ...]:
    return tuple({"split": name} for name in names)


BY_TRAIN = ({"train": True}, {"train": False})
DATASETS = {
    "CIFAR10": Known(10, 3, BY_TRAIN),
    "DTD": Known(47, 3, of_splits("train", "val", "test")),
    "EuroSAT": Known(10, 3, ({},)),
    "FGVCAircraft": Known(100, 3, of_splits("trainval", "test")),
    "FashionMNIST": Known(10, 1, BY_TRAIN),
    "Flowers102": Known(102, 3, of_splits("train", "val", "test")),
    "Food101": Known(101, 3, of_splits("train", "test")),
    "GTSRB": Known(43, 3, of_splits("train", "test")),
    "KMNIST": Known(10, 1, BY_TRAIN),
    "MNIST": Known(10, 1, BY_TRAIN),
    "OxfordIIITPet": Known(37, 3, of_splits("trainval", "test")),
    "STL10": Known(10, 3, of_splits("train", "test")),
    "SVHN": Known(10, 3, of_splits("train", "test")),
    "USPS": Known(10, 1, BY_TRAIN),
}


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"torchvision": torchvision}


@requires("torchvision", "pip install 'metabench[vision]'")
def torchvision(
    *,
    dataset: Name = "Flowers102",
    size: Annotated[int, Range(ge=16, le=512)] = 32,
    ways: Annotated[int, Range(ge=0)] = 0,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """A data set that torchvision downloads and checks; its classes are split by the hash of their names, 60/20/20.

    No paper's split. Reads `torchvision` below METABENCH_DATA where it is there. All parts of a data set are pooled.

    Args:
        dataset: Its name in torchvision.datasets; those of ten classes leave two to validate and two to test.
        size: Pixels of an image's side; images of any shape are resized to a square.
        ways: Classes of a task; 0 takes 5, or as many as there are to test on.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    known = DATASETS[dataset]
    ways = ways or min(5, known.classes - round(0.8 * known.classes))
    network: Callable[[], nn.Module]
    if model == "conv4":
        network = functools.partial(conv_pool, ways, filters, known.channels, size)
    else:
        widths = RESNET12 if model == "resnet12" else RESNET12_NARROW
        network = functools.partial(resnet12, ways, known.channels, widths)
    load = functools.partial(load_splits, dataset, size)
    recipes = colour_recipes(shots, "No paper's for this data set.")
    return image_suite("torchvision", Shape(ways, shots, queries), load, network, {"quick": recipes["quick"]})


def load_splits(dataset: Name, size: int) -> Splits:
    """By split its images; raises DataError in one line."""
    try:
        pixels, names, digest = images_of(dataset, size)
    except DataError:
        raise
    except Exception as error:  # whatever torchvision, the network or the disk says
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"Suite 'torchvision': {dataset} cannot be used ({type(error).__name__}: {reason}). torchvision looks "
            f"for it in '{root()}', or downloads it there; a folder 'torchvision' below METABENCH_DATA goes before."
        ) from None
    images = of_classes(torch.from_numpy(pixels), names)
    of = split_by_hash(images.names)
    return Splits({split: images.only(members(of, split)) for split in SPLITS}, (), digest)


def root() -> Path:
    """Where torchvision keeps its data sets."""
    local = Path(os.environ.get("METABENCH_DATA", "")) / "torchvision"
    return local if os.environ.get("METABENCH_DATA") and local.is_dir() else cache_dir() / "downloads" / "torchvision"


def opened(dataset: Name) -> list[Any]:
    """The parts of a data set: as they lie there, or downloaded. Raises what torchvision raises."""
    import torchvision.datasets

    make = getattr(torchvision.datasets, dataset)
    try:
        return [make(str(root()), download=False, **part) for part in DATASETS[dataset].parts]
    except RuntimeError:
        if os.environ.get("METABENCH_OFFLINE"):
            raise
        root().mkdir(parents=True, exist_ok=True)
        return [make(str(root()), download=True, **part) for part in DATASETS[dataset].parts]


def images_of(dataset: Name, size: int) -> tuple[np.ndarray, list[str], str]:
    """All pixels, class after class, with the class of each, and a digest of both."""
    parts = opened(dataset)
    places = [(part, row) for part in parts for row in range(len(part))]
    where = hashlib.sha256(f"{root()}".encode()).hexdigest()[:8]
    key = f"torchvision-{VERSION}-{dataset}-{size}-{len(places)}-{where}"
    labels = cached_arrays(
        f"{key}-labels", lambda: {"labels": np.array([y for part in parts for y in labels_of(part)])}
    )
    classes = labels["labels"].tolist()
    order = sorted(range(len(places)), key=classes.__getitem__)
    channels = DATASETS[dataset].channels

    def fill(pixels: np.ndarray) -> None:
        def write(rows: range) -> None:
            for row in rows:
                part, place = places[order[row]]
                pixels[row] = small(part[place][0], size, channels)

        chunks = [range(first, min(first + 256, len(order))) for first in range(0, len(order), 256)]
        in_parallel(write, chunks, f"Preparing {len(order):,} images ({pixels.nbytes / 1e9:.2f} GB)")

    pixels = mapped_array(key, (len(order), channels, size, size), fill)

    def digest() -> dict[str, np.ndarray]:
        whole = hashlib.sha256(repr(sorted(classes)).encode())
        for row in pixels:
            whole.update(row.tobytes())
        return {"digest": np.array(whole.hexdigest()[:16])}

    called = [str(name) for name in getattr(parts[0], "classes", ())]
    names = [called[classes[row]] if classes[row] < len(called) else str(classes[row]) for row in order]
    return pixels, names, str(cached_arrays(f"{key}-digest", digest)["digest"])


def labels_of(part: Any) -> list[int]:
    """The class of each image: as the data set lists them, or by reading every image."""
    for name in ("targets", "labels", "_labels"):
        found = getattr(part, name, None)
        if found is not None and len(found) == len(part):
            return [int(each) for each in found]
    return [int(part[row][1]) for row in range(len(part))]


def small(image: Any, size: int, channels: int) -> np.ndarray:
    """One of PIL's images as uint8 (channels, size, size)."""
    from PIL import Image

    made = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(made)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
