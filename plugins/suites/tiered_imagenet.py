"""tieredImageNet (Ren et al. 2018): 608 classes whose superclasses are apart; class folders by split, or pickles."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from posixpath import basename
from typing import Annotated, Any

import numpy as np
import torch

from metabench.api import (
    DataError,
    Images,
    Range,
    Shape,
    Size,
    Splits,
    Suite,
    SuiteFactory,
    hookimpl,
    image_suite,
    in_parallel,
    mapped_array,
    of_classes,
)
from metabench_plugins.suites import safe_pickle
from metabench_plugins.suites.colour import Model, colour_recipes, network
from metabench_plugins.suites.image_files import content_of, small, small_images
from metabench_plugins.suites.image_source import Source, opened
from metabench_plugins.suites.own_data import ALIASES, SPLITS, locate
from metabench_plugins.suites.pixels import formats

SIDE = 84
CLASSES = {"train": 351, "validation": 97, "test": 160}
IMAGES = {"train": 448_695, "validation": 124_261, "test": 206_209}
PICKLE_LIMIT = 16 * 2**30
VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""
WHERE = (
    "ImageNet's terms allow no copy of ours. Put one below METABENCH_DATA (--data) as 'tiered-imagenet', or name it "
    "by --set tiered-imagenet.path=...: a folder or zip of train/, val/ and test/ with class folders, or the pickles "
    "train_images_png.pkl, train_labels.pkl ... of https://zenodo.org/record/7978538"
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"tiered-imagenet": tiered_imagenet}


def tiered_imagenet(
    *,
    path: str = "tiered-imagenet",
    sample: bool = False,
    ways: Annotated[int, Range(ge=2, le=97)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Model = "conv4",
    filters: Size = 64,
) -> Suite:
    """tieredImageNet: 84x84 colour, 351 classes to train, 97 to validate, 160 to test. No download; 16.5 GB of cache.

    Never run on the real archive. Of a folder or zip of split folders (train, val, test) with class folders; or of
    the published pickles, which are read by an unpickler that makes arrays and nothing else: 10 GB of memory.

    Args:
        path: The folder or zip file, as it stands or below METABENCH_DATA.
        sample: Whether the data may be a part of tieredImageNet. Scores are then not those of tieredImageNet, and are
            not set beside published ones.
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        model: Four convolutions with max-pooling, or ResNet-12 in MetaOptNet's or TADAM's widths, without dropout.
        filters: Filters of each convolution of conv4: MAML has 32, prototypical networks 64.
    """
    made = network(model, ways, filters, SIDE)
    load = functools.partial(load_splits, path, sample)
    recipes = colour_recipes(shots, "No paper's for tieredImageNet.")
    return image_suite("tiered-imagenet", Shape(ways, shots, queries), load, made, recipes)


def load_splits(path: str, sample: bool) -> Splits:
    """By split its images; raises DataError in one line."""
    try:
        with opened(locate(path)) as source:
            pickles = [file for file in source.files if file.endswith("_images_png.pkl")]
            found, digest = of_pickles(source, pickles) if pickles else of_folders(source)
        classes = {split: len(images.names) for split, images in found.items()}
        counts = {split: int(images.counts.sum()) for split, images in found.items()}
        whole = (classes, counts) == (CLASSES, IMAGES)
        if not whole and not sample:
            raise ValueError(
                f"it has {told(counts)} images of {told(classes)} classes to train, validate and test, where "
                f"tieredImageNet has {told(IMAGES)} of {told(CLASSES)}; to use it as a sample say --set "
                "tiered-imagenet.sample=true"
            )
    except Exception as error:  # damaged archives and images make zipfile and PIL raise almost anything
        kind = "" if isinstance(error, ValueError | DataError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'tiered-imagenet': '{path}' cannot be used: {kind}{error}. {WHERE}.") from None
    note = f"'{path}' is a sample of tieredImageNet: scores on it are not those of tieredImageNet"
    return Splits(found, () if whole else (note,), digest)


def told(counts: dict[str, int]) -> str:
    return "/".join(f"{counts.get(split, 0):,}" for split in SPLITS)


def of_folders(source: Source) -> tuple[dict[str, Images], str]:
    """The images in class folders, which lie in those of the splits. Raises ValueError."""
    rows = []
    for file in source.files:
        split, name = ["", "", *file.split("/")][-3:-1]
        if file[file.rfind(".") :].lower() in formats()[1] and split.lower() in ALIASES:
            rows.append((ALIASES[split.lower()], name, file))
    if {split for split, _, _ in rows} != set(SPLITS):
        raise ValueError("it holds no images in train/, val/ and test/, and no pickles")
    rows.sort()
    pixels, digest = small_images(source, [file for _, _, file in rows], SIDE, 3)
    return by_split(pixels, [(split, name) for split, name, _ in rows]), digest


def by_split(pixels: np.ndarray, rows: list[tuple[str, str]]) -> dict[str, Images]:
    """Images with the split and the class of each, in order; a class of two splits is in both."""
    images = of_classes(torch.from_numpy(pixels), [f"{split}/{name}" for split, name in rows])
    found = {split: images.only(sorted(n for n in images.names if n.startswith(f"{split}/"))) for split in SPLITS}
    return {
        split: each._replace(names=tuple(name.partition("/")[2] for name in each.names))
        for split, each in found.items()
    }


def of_pickles(source: Source, pickles: list[str]) -> tuple[dict[str, Images], str]:
    """A list of images as PNG for each split, beside labels. Raises ValueError."""
    parts = {
        ALIASES[split]: file for file in pickles for split in ("train", "val", "test") if split in basename(file)
    }
    if parts.keys() != set(SPLITS):
        raise ValueError(f"it has pickles for {', '.join(parts)} alone")
    labels = {split: classes_of(source, file) for split, file in parts.items()}
    digest = content_of(source, [*parts.values(), *map(labels_of, parts.values())], PICKLE_LIMIT)
    orders = {split: sorted(range(len(found)), key=found.__getitem__) for split, found in labels.items()}
    rows = [(split, labels[split][row]) for split in SPLITS for row in orders[split]]

    def fill(pixels: np.ndarray) -> None:
        first = 0
        for split in SPLITS:
            decode(source, parts[split], orders[split], pixels[first : first + len(orders[split])])
            first += len(orders[split])

    pixels = mapped_array(f"tiered-imagenet-{VERSION}-{digest[:32]}", (len(rows), 3, SIDE, SIDE), fill)
    return by_split(pixels, rows), digest[:16]


def labels_of(file: str) -> str:
    return file.replace("_images_png.pkl", "_labels.pkl")


def classes_of(source: Source, file: str) -> list[str]:
    """The class of each image: the name that the file of labels has for it, or else its number. Raises ValueError."""
    held = safe_pickle.load(source.read(labels_of(file), PICKLE_LIMIT))
    numbers = np.asarray(held.get("label_specific") if isinstance(held, dict) else None)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers) or numbers.min() < 0:
        raise ValueError(f"'{labels_of(file)}' holds no label_specific of whole numbers")
    names: Any = held.get("label_specific_str")
    if names is None or len(names) <= numbers.max():
        return [f"{basename(file).partition('_')[0]}-{number:03}" for number in numbers.tolist()]
    return [str(names[number]) for number in numbers.tolist()]


def decode(source: Source, file: str, order: list[int], pixels: np.ndarray) -> None:
    """Write the images of a pickle in this order. Raises ValueError."""
    held = safe_pickle.load(source.read(file, PICKLE_LIMIT))
    if not isinstance(held, list | np.ndarray) or len(held) != len(order):
        raise ValueError(f"'{file}' holds no list of {len(order):,} images")

    def write(part: list[int]) -> None:
        for place in part:
            pixels[place] = small(np.asarray(held[order[place]], np.uint8).tobytes(), file, SIDE, 3)

    in_parallel(write, list(pieces(len(order))), f"Preparing {len(order):,} images ({pixels.nbytes / 1e9:.2f} GB)")


def pieces(count: int, each: int = 512) -> Iterator[list[int]]:
    """Numbers below `count`, some at a time."""
    return (list(range(first, min(first + each, count))) for first in range(0, count, each))
