"""Few-shot classification of birds: Caltech-UCSD Birds 200-2011 (Wah et al. 2011), by two splits of its classes."""

from __future__ import annotations

import functools
import os
import re
import tarfile
from collections import Counter
from pathlib import Path
from posixpath import basename, dirname
from typing import Annotated, Literal

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
    hookimpl,
    image_suite,
    of_classes,
)
from metabench_plugins.suites.colour import Model, colour_recipes, network
from metabench_plugins.suites.image_files import FILE_LIMIT, small_images
from metabench_plugins.suites.image_source import Source, opened
from metabench_plugins.suites.own_data import SPLITS, locate

CLASSES, IMAGES = 200, 11_788
LIMIT = 4 * 2**30
"""Bytes of an archive, unpacked."""
Split = Literal["100-50-50", "140-30-30"]
HELD_OUT = {
    "validation": (
        *(44, 51, 52, 55, 57, 61, 64, 66, 68, 72, 76, 80, 84, 96, 113, 121, 127, 136, 140, 145, 150, 155, 159, 162),
        *(172, 176, 178, 198, 199, 200),
    ),
    "test": (
        *(8, 9, 15, 20, 28, 30, 35, 39, 45, 46, 82, 85, 94, 101, 103, 112, 118, 122, 128, 133, 134, 137, 147, 148),
        *(163, 168, 169, 170, 193, 194),
    ),
}
"""Numbers of classes, from 1, that do not train in the split of Meta-Dataset, as learn2learn has it."""
WHERE = (
    "Its terms (research, not to be passed on) allow no copy of ours: get CUB_200_2011.tgz at "
    "https://data.caltech.edu/records/20098 and put it below METABENCH_DATA (--data), or name the archive, or the "
    "folder that it unpacks to, by --set cub.path=..."
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"cub": cub}


def cub(
    *,
    path: str = "CUB_200_2011.tgz",
    split: Split = "100-50-50",
    sample: bool = False,
    size: Annotated[int, Range(ge=16, le=512)] = 84,
    ways: Annotated[int, Range(ge=2, le=50)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """Birds, CUB-200-2011: 200 species in 11,788 colour images. No download. Never run on the real archive.

    Two splits are in use, and their numbers are not comparable. `100-50-50` is CloserLookFewShot's: every other class
    trains, and of the rest every other one validates. `140-30-30` is Meta-Dataset's, and learn2learn's.

    Args:
        path: The official archive, or the folder that it unpacks to, as it stands or below METABENCH_DATA.
        split: Which classes are for training, validation and test.
        sample: Whether the data may be a part of CUB. Scores are then not those of CUB, and are not set beside
            published ones.
        size: Pixels of an image's side; images of any shape are resized to a square, with no box cut out.
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    made = network(model, ways, filters, size)
    load = functools.partial(load_splits, path, split, sample, size)
    return image_suite("cub", Shape(ways, shots, queries), load, made, colour_recipes(shots, "No paper's for CUB."))


def load_splits(path: str, split: Split, sample: bool, size: int) -> Splits:
    """By split its images; raises DataError in one line."""
    try:
        place = locate(path)
        if place.is_dir():
            with opened(place) as source:
                return splits_of(source, path, split, sample, size)
        return splits_of(archive_source(place), path, split, sample, size)
    except Exception as error:  # damaged archives and images make tarfile and PIL raise almost anything
        kind = "" if isinstance(error, ValueError | DataError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'cub': '{path}' cannot be used: {kind}{error}. {WHERE}.") from None


def splits_of(source: Source, path: str, split: Split, sample: bool, size: int) -> Splits:
    """See load_splits. Raises ValueError."""
    files = sorted(file for file in source.files if file.lower().endswith(".jpg"))
    names = [basename(dirname(file)) for file in files]
    numbers = {name: int(name[:3]) for name in names if re.fullmatch(r"\d{3}\..+", name)}
    if sorted(numbers.values()) != list(range(1, CLASSES + 1)) or len(numbers) != len(set(names)):
        raise ValueError(f"it holds {len(numbers)} class folders such as 001.Black_footed_Albatross, not {CLASSES}")
    if len(files) != IMAGES and not sample:
        raise ValueError(
            f"it has {len(files):,} images, where CUB has {IMAGES:,}; to use it as a sample say --set cub.sample=true"
        )
    ordered = sorted(zip(names, files))
    pixels, digest = small_images(source, [file for _, file in ordered], size, 3)
    images = of_classes(torch.from_numpy(pixels), [name for name, _ in ordered])
    of = {name: split_of(number, split) for name, number in numbers.items()}
    note = f"'{path}' is a sample of CUB, {len(files):,} of {IMAGES:,} images: scores on it are not those of CUB"
    return Splits(
        {each: images.only(sorted(name for name in of if of[name] == each)) for each in SPLITS},
        () if len(files) == IMAGES else (note,),
        digest,
    )


def split_of(number: int, split: Split) -> str:
    """Of a class, by its number from 1."""
    if split == "100-50-50":
        return ("train", "validation", "train", "test")[(number - 1) % 4]
    return next((name for name, numbers in HELD_OUT.items() if number in numbers), "train")


def archive_source(place: Path) -> Source:
    """The images in the archive, which is read as a whole, 1.1 GB, once any of them is asked for."""
    about = os.stat(place)
    stamp = (max(about.st_mtime_ns, about.st_ctime_ns), about.st_size, about.st_ino)

    @functools.cache
    def content() -> dict[str, bytes]:
        found, total = {}, 0
        with tarfile.open(place, "r:*") as archive:
            for info in archive:
                if not info.isreg() or "/images/" not in f"/{info.name}" or not info.name.lower().endswith(".jpg"):
                    continue
                total += info.size
                stream = archive.extractfile(info)
                if info.size > FILE_LIMIT or total > LIMIT or stream is None:
                    raise ValueError(f"'{info.name}' is too large")
                found[info.name] = stream.read()
        return found

    key = "-".join(map(str, stamp))
    files = cached_arrays(f"cub-files-{key}", lambda: {"files": np.array(sorted(content()), "U")})["files"].tolist()
    return Source(os.path.realpath(place), files, lambda file, limit: content()[file], lambda file: stamp, Counter())
