"""Few-shot classification on CIFAR-100 (Krizhevsky 2009): CIFAR-FS and FC100, by two splits of its classes."""

from __future__ import annotations

import functools
import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch

from metabench.api import (
    DataError,
    Range,
    Shape,
    Size,
    Splits,
    Suite,
    SuiteFactory,
    cached_arrays,
    check_classes,
    check_drawings,
    fetch,
    hookimpl,
    image_suite,
    mapped_array,
    of_classes,
)
from metabench_plugins.suites.colour import Model, colour_recipes, network

NAME = "cifar-100-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{NAME}"
CHECKSUM = "md5:03b5dce01913d631647c71ecec9e9cb8"
SIZE, EACH = 32, 600
RECORD = 2 + 3 * SIZE * SIZE
"""Bytes of an image: its superclass, its class, and the planes of red, green and blue."""
PARTS = {"train.bin": 50_000, "test.bin": 10_000}
"""Images of each file; few-shot learning pools them."""
NAMES = {"coarse_label_names.txt": 20, "fine_label_names.txt": 100}
ARCHIVE_LIMIT = 2**30
VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""

CIFAR_FS = {
    "validation": (
        "beaver otter flatfish shark lamp television beetle butterfly sea camel cattle crab crocodile maple_tree "
        "motorcycle tractor"
    ),
    "test": (
        "whale poppy rose sweet_pepper telephone bed table wardrobe leopard plain chimpanzee fox snail worm baby man "
        "woman bicycle pickup_truck rocket"
    ),
}
"""Bertinetto, Henriques, Torr and Vedaldi 2019, arXiv 1805.08136: a random split; the other 64 classes train."""
FC100 = {"validation": (8, 11, 13, 16), "test": (0, 7, 12, 14)}
"""Oreshkin, Rodriguez and Lacoste 2018, arXiv 1805.10123: numbers of superclasses; the other 12 train."""


class Cifar100(NamedTuple):
    """All of the data, class after class."""

    pixels: np.ndarray
    """uint8 (60000, 3, 32, 32), mapped from the cache."""
    fine: tuple[str, ...]
    """The 100 classes."""
    coarse: tuple[str, ...]
    """The 20 superclasses."""
    coarse_of: tuple[int, ...]
    """The number of each class's superclass."""
    digest: str


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"cifar-fs": cifar_fs, "fc100": fc100}


def cifar_fs(
    *,
    ways: Annotated[int, Range(ge=2, le=16)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """CIFAR-FS: 32x32 colour, 64 classes to train, 16 to validate, 20 to test, 600 images each. Downloads 160 MB.

    The split is random, so that the test's woman and the training's girl look alike: FC100 is harder. Reads
    cifar-100-binary.tar.gz below METABENCH_DATA where it lies there.

    Args:
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    source = "The R2-D2 paper, arXiv 1805.08136, which made CIFAR-FS, gives no settings of MAML on it."
    return suite("cifar-fs", Shape(ways, shots, queries), model, filters, source)


def fc100(
    *,
    ways: Annotated[int, Range(ge=2, le=20)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """FC100: 32x32 colour, 60 classes to train, 20 to validate, 20 to test, 600 images each. Downloads 160 MB.

    No superclass of CIFAR-100 (fish, flowers, people ...) is in two splits. Reads cifar-100-binary.tar.gz below
    METABENCH_DATA where it lies there.

    Args:
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    return suite("fc100", Shape(ways, shots, queries), model, filters, "TADAM made FC100, and has no MAML on it.")


def suite(name: str, shape: Shape, model: Model, filters: int, source: str) -> Suite:
    """One of the two; raises ValueError for a shape that the data cannot have."""
    check_drawings(shape, EACH)
    check_classes(shape, "validation", 16 if name == "cifar-fs" else 20)
    made = network(model, shape.ways, filters, SIZE)
    return image_suite(name, shape, functools.partial(load_splits, name), made, colour_recipes(shape.shots, source))


def load_splits(name: str) -> Splits:
    """By split its images; raises DataError."""
    data = cifar100(name)
    classes = [each for each in data.fine for _ in range(EACH)]
    images = of_classes(torch.from_numpy(data.pixels), classes)
    members = (cifar_fs_split if name == "cifar-fs" else fc100_split)(data)
    return Splits({split: images.only(members[split]) for split in ("train", "validation", "test")}, (), data.digest)


def cifar_fs_split(data: Cifar100) -> dict[str, list[str]]:
    """The classes of each split."""
    held_out = {split: listed.split() for split, listed in CIFAR_FS.items()}
    others = {name for names in held_out.values() for name in names}
    return {"train": [name for name in data.fine if name not in others], **held_out}


def fc100_split(data: Cifar100) -> dict[str, list[str]]:
    """The classes of each split."""
    of: Mapping[int, str] = {number: split for split, numbers in FC100.items() for number in numbers}
    split = [of.get(number, "train") for number in data.coarse_of]
    return {each: [n for n, given in zip(data.fine, split) if given == each] for each in ("train", *FC100)}


def cifar100(suite: str) -> Cifar100:
    """The data from METABENCH_DATA, the cache or the network; raises DataError in one line that names the archive."""
    path = fetch("cifar100", NAME, URL, CHECKSUM)
    try:
        if path.stat().st_size > ARCHIVE_LIMIT:
            raise ValueError(f"it is larger than {ARCHIVE_LIMIT:,} bytes")
        with open(path, "rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        read = functools.lru_cache(maxsize=1)(functools.partial(records, path))
        facts = cached_arrays(f"cifar100-facts-{VERSION}-{key}", lambda: facts_of(path, read()))
        digest = str(facts["digest"])

        def fill(pixels: np.ndarray) -> None:
            pixels[:] = read()[:, 2:].reshape(pixels.shape)

        pixels = mapped_array(f"cifar100-{VERSION}-{digest}", (100 * EACH, 3, SIZE, SIZE), fill)
    except DataError:
        raise
    except Exception as error:  # a damaged archive makes tarfile raise almost anything
        raise DataError(
            f"Suite '{suite}': '{path}' cannot be used ({type(error).__name__}: {error}). Replace it with {URL}."
        ) from None
    coarse_of = tuple(facts["coarse_of"].tolist())
    return Cifar100(pixels, tuple(facts["fine"].tolist()), tuple(facts["coarse"].tolist()), coarse_of, digest)


def records(path: Path) -> np.ndarray:
    """uint8 (60000, 3074): every image, class after class, and within a class in the order of its bytes.

    So the same tasks are drawn from every copy, in whatever order it has its images. Raises ValueError.
    """
    parts = []
    with tarfile.open(path, "r:gz") as archive:
        for name, count in PARTS.items():
            part = np.frombuffer(member(archive, name, count * RECORD), np.uint8)
            if len(part) != count * RECORD:
                raise ValueError(f"'{name}' has {len(part):,} bytes where {count * RECORD:,} are expected")
            parts.append(part.reshape(-1, RECORD))
    whole = np.concatenate(parts)
    if not np.array_equal(np.bincount(whole[:, 1], minlength=100), np.full(100, EACH)):
        raise ValueError(f"not every class has {EACH} images")
    keys = [(fine, row) for fine, row in zip(whole[:, 1].tolist(), map(bytes, whole))]
    return whole[sorted(range(len(keys)), key=keys.__getitem__)]


def member(archive: tarfile.TarFile, name: str, limit: int) -> bytes:
    """A file of the archive, in memory: nothing is unpacked to disk. Raises ValueError, KeyError."""
    info = archive.getmember(f"cifar-100-binary/{name}")
    stream = archive.extractfile(info) if info.isreg() else None
    if stream is None or info.size > limit:
        raise ValueError(f"'{name}' is no file, or larger than {limit:,} bytes")
    return stream.read()


def facts_of(path: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The names of classes and superclasses, which belongs to which, and a digest of all; raises ValueError."""
    names = {}
    with tarfile.open(path, "r:gz") as archive:
        for name, count in NAMES.items():
            found = member(archive, name, 2**16).decode("ascii").split()
            if len(set(found)) != count:
                raise ValueError(f"'{name}' has {len(set(found))} names where {count} are expected")
            names[name] = np.array(found)
    coarse_of = rows[::EACH, 0].astype(np.int64)
    if not np.array_equal(rows[:, 0], coarse_of.repeat(EACH)) or coarse_of.max() >= 20:
        raise ValueError("a class is in two superclasses")
    digest = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
    coarse, fine = names["coarse_label_names.txt"], names["fine_label_names.txt"]
    return {"coarse": coarse, "fine": fine, "coarse_of": coarse_of, "digest": np.array(digest)}
