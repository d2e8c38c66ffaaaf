"""mini-ImageNet by the split of Ravi and Larochelle 2017: class folders, images with CSV files, or pickles."""

from __future__ import annotations

import functools
import hashlib
from typing import Annotated

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
    in_parallel,
    mapped_array,
    of_classes,
)
from metabench_plugins.suites.colour import Model, colour_recipes, network
from metabench_plugins.suites.image_files import content_of
from metabench_plugins.suites.image_source import opened
from metabench_plugins.suites.mini_imagenet_layouts import HELD_OUT, SIDE, Part, only_zip, parts_of
from metabench_plugins.suites.own_data import SPLITS, locate

EACH, CLASSES = 600, 100
VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""
WHERE = (
    "ImageNet's terms allow no copy of ours. Put one below METABENCH_DATA (--data) as 'mini-imagenet', or name it by "
    "--set mini-imagenet.path=...: a folder or zip of train/, val/ and test/ with class folders (n01532829), "
    "a folder of images with Ravi's train.csv, val.csv and test.csv, or one of the three pickles of learn2learn, "
    "https://zenodo.org/record/7978538"
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"mini-imagenet": mini_imagenet}


def mini_imagenet(
    *,
    path: str = "mini-imagenet",
    sample: bool = False,
    ways: Annotated[int, Range(ge=2, le=16)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """mini-ImageNet: 84x84 colour, 64 classes to train, 16 to validate, 20 to test, 600 images each. No download.

    Of a folder or zip of split folders (train, val, test) with class folders; of a folder of images with Ravi's
    train.csv, val.csv and test.csv (filename,label); or of the published pickles, which are read by an unpickler that
    makes arrays and nothing else. The same images give the same tasks in each.

    Args:
        path: The folder or zip file, as it stands or below METABENCH_DATA.
        sample: Whether the data may be a part of mini-ImageNet. Scores are then not those of mini-ImageNet, and are
            not set beside published ones.
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    shape = Shape(ways, shots, queries)
    made = network(model, ways, filters, SIDE)
    load = functools.partial(load_splits, path, sample)
    return image_suite("mini-imagenet", shape, load, made, colour_recipes(shots))


def load_splits(path: str, sample: bool) -> Splits:
    """By split its images; raises DataError in one line."""
    try:
        place = locate(path)
    except ValueError as error:
        raise DataError(f"Suite 'mini-imagenet': {error}. {WHERE}.") from None
    try:
        with opened(only_zip(place)) as source:
            parts, files, limit = parts_of(source)
            key = content_of(source, files, limit)
            pixels, names, digest = arrays(parts, key)
    except Exception as error:  # damaged archives and images make zipfile and PIL raise almost anything
        kind = "" if isinstance(error, ValueError | DataError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'mini-imagenet': '{path}' cannot be used: {kind}{error}. {WHERE}.") from None
    images = of_classes(torch.from_numpy(pixels), names)
    whole = len(images.names) == CLASSES and bool((images.counts == EACH).all())
    if not whole and not sample:
        raise DataError(
            f"Suite 'mini-imagenet': '{path}' has {len(names):,} images of {len(images.names)} classes, where "
            f"mini-ImageNet has {EACH * CLASSES:,} of {CLASSES}. To use it as a sample say --set "
            "mini-imagenet.sample=true."
        )
    held_out = {name: split for split, listed in HELD_OUT.items() for name in listed.split()}
    of = {name: held_out.get(name, "train") for name in images.names}
    note = f"'{path}' is a sample of mini-ImageNet, {len(names):,} of {EACH * CLASSES:,} images: scores on it are not"
    return Splits(
        {split: images.only(sorted(name for name in of if of[name] == split)) for split in SPLITS},
        () if whole else (f"{note} those of mini-ImageNet",),
        digest,
    )


def arrays(parts: list[Part], key: str) -> tuple[np.ndarray, list[str], str]:
    """All pixels, class after class and within a class in the order of their bytes, with the class of each image.

    So the same images give the same tasks, however they are packed.
    """
    name = f"mini-imagenet-{VERSION}-{key[:32]}"

    def count() -> dict[str, np.ndarray]:
        counts = {name: count for part in parts for name, count in part.counts.items()}
        for part in parts:
            counts |= {} if part.counts else {name: len(images) for name, images in part.read().items()}
        names = sorted(counts)
        return {"names": np.array(names), "counts": np.array([counts[name] for name in names])}

    known = cached_arrays(f"{name}-classes", count)
    names, counts = known["names"].tolist(), known["counts"].tolist()
    ends = dict(zip(names, np.cumsum(counts).tolist()))

    def fill(pixels: np.ndarray) -> None:
        def write(part: Part) -> None:
            for each, images in part.read().items():
                order = sorted(range(len(images)), key=lambda row: images[row].tobytes())
                pixels[ends[each] - len(images) : ends[each]] = images[order]

        in_parallel(write, parts, f"Preparing {sum(counts):,} images ({pixels.nbytes / 1e9:.2f} GB)")

    pixels = mapped_array(name, (sum(counts), 3, SIDE, SIDE), fill)
    hashed = cached_arrays(f"{name}-digest", lambda: {"digest": np.array(digest_of(pixels, names, counts))})
    return pixels, [each for each, count in zip(names, counts) for _ in range(count)], str(hashed["digest"])


def digest_of(pixels: np.ndarray, names: list[str], counts: list[int]) -> str:
    """Of classes and pixels."""
    whole = hashlib.sha256(repr((names, counts)).encode())
    for row in pixels:
        whole.update(row.tobytes())
    return whole.hexdigest()[:16]
