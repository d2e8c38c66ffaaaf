"""Few-shot classification of one's own images: a folder, or a zip file, of class folders."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Literal

import numpy as np
import torch
from torch import nn

from metabench.api import DataError, Range, Recipe, Size, Suite, SuiteFactory, hookimpl
from metabench_plugins.suites import backbones
from metabench_plugins.suites.fewshot import Images, Shape, image_suite
from metabench_plugins.suites.image_files import SUFFIXES, Source, opened, read_file, small_images
from metabench_plugins.suites.own_data import ALIASES, SPLIT_LIMIT, SPLITS, by_hash, given_split, locate, members

TOTAL_LIMIT = 4 * 2**30
"""Bytes of all images once they are small; mini-ImageNet in colour at 84x84 has 1.3e9."""


def image_folder(
    *,
    path: str = "",
    split: str = "",
    size: Annotated[int, Range(ge=16, le=512)] = 84,
    channels: Literal[1, 3] = 3,
    ways: Annotated[int, Range(ge=2)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    model: Literal["conv_pool", "conv_strided"] = "conv_pool",
    filters: Annotated[int, Range(ge=1, le=4096)] = 32,
) -> Suite:
    """Your own images: `path` is a folder or zip file of class folders, each with the images of one class.

    A class is called by its folder, below what all have in common: `cat`, or `animals/cat`. Without a split file, top
    folders called train, validation (or val) and test are the splits. NOTE: without these either, classes are split
    by the hash of their names, 60% to train, 20% to validate, 20% to test: the same for the same set of classes, but
    a class more or less may move others. Classes may differ in how many images they have; each needs shots + queries.

    Args:
        path: The folder or zip file.
        split: A file, beside the images or anywhere: JSON {"cat": "train", ...} or CSV with rows `cat,train`; classes
            that it leaves out are not used.
        size: Pixels of an image's side; images of any shape are resized to a square.
        channels: 3 reads images in color, 1 in grey.
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set.
        model: `conv_pool` with 32 filters on 84x84 is MAML's network for mini-ImageNet, `conv_strided` the one for
            Omniglot.
        filters: Filters of each convolution.
    """
    shape = Shape(ways, shots, queries)
    if not path:
        raise ValueError("path must name a folder or zip file of class folders: --set image-folder.path=FOLDER")
    network: Callable[[], nn.Module]
    if model == "conv_pool":
        network = functools.partial(backbones.conv_pool, ways, filters, channels, size)
    else:
        network = functools.partial(backbones.conv_strided, ways, filters, channels)
    load = functools.partial(load_splits, path, split, size, channels)
    return image_suite("image-folder", shape, load, network, {"quick": QUICK})


def load_splits(path: str, split: str, size: int, channels: int) -> dict[str, Images]:
    """By split its images; raises DataError in one line that names the file."""
    try:
        with opened(locate(path)) as source:
            images = [file for file in source.files if PurePosixPath(file).suffix.lower() in SUFFIXES]
            classes = classes_of(images)
            splits = splits_of(sorted(set(classes)), split, source)
            used = {file: name for file, name in zip(images, classes) if name in splits}
            if len(used) * size * size * channels > TOTAL_LIMIT:
                raise ValueError(
                    f"its {len(used):,} images are too many for memory at size {size}: choose a smaller one"
                )
            arrays = small_images(source, list(used), size, channels)
    except DataError as error:
        raise DataError(f"Suite 'image-folder': '{path}': {error}") from None
    except Exception as error:  # damaged archives and images make zipfile and PIL raise almost anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'image-folder': '{path}' cannot be used: {kind}{error}.") from None
    return {name: chosen(arrays["pixels"], list(used.values()), splits, name) for name in SPLITS}


def classes_of(images: list[str]) -> list[str]:
    """Of each image its class: the folder that it lies in, below what all folders have in common."""
    if not images:
        raise ValueError(f"it holds no images ({', '.join(sorted(SUFFIXES))}) in class folders")
    folders = [PurePosixPath(file).parent.parts for file in images]
    common = 0
    while len({parts[common : common + 1] for parts in folders}) == 1 and all(len(p) > common + 1 for p in folders):
        common += 1
    for file, parts in zip(images, folders):
        if len(parts) <= common:
            raise ValueError(f"the image '{file}' lies in no class folder")
    return ["/".join(parts[common:]) for parts in folders]


def splits_of(classes: list[str], split: str, source: Source) -> dict[str, str]:
    """The split of each class that is used."""
    if split:
        try:
            content = source.read(split, SPLIT_LIMIT) if split in source.files else read_split(split)
            found = given_split(content, PurePosixPath(split).suffix.lower())
        except (ValueError, OSError, RecursionError) as error:
            raise DataError(f"the split file '{split}' cannot be used: {error}.") from None
        unknown = sorted(found.keys() - set(classes))
        if unknown:
            raise DataError(
                f"the split file '{split}' names {len(unknown)} classes that are not there, such as '{unknown[0]}'. "
                f"There are {len(classes)}, such as '{classes[0]}'."
            )
        return found
    tops = {name: name.split("/")[0].lower() for name in classes}
    if set(tops.values()) <= ALIASES.keys() and all("/" in name for name in classes):
        return {name: ALIASES[top] for name, top in tops.items()}
    return by_hash(classes)


def read_split(split: str) -> bytes:
    """A split file that does not lie among the images."""
    place = locate(split)
    return read_file(place.parent, place.name, SPLIT_LIMIT)


def chosen(pixels: np.ndarray, classes: list[str], splits: dict[str, str], split: str) -> Images:
    """The images of one split, class after class. Classes that differ in their top folder `train`, `test` ... alone
    bear one name, so that the overlap is seen."""
    names = members(splits, split)
    places = {name: number for number, name in enumerate(names)}
    of_image = np.array([places.get(name, -1) for name in classes])
    order = np.argsort(of_image, kind="stable")[(of_image < 0).sum() :]
    counts = torch.from_numpy(np.bincount(of_image[order], minlength=len(names)))
    return Images(torch.from_numpy(pixels[order]), tuple(map(bare, names)), counts)


def bare(name: str) -> str:
    """`train/cat` and `test/cat` are both `cat`."""
    top, slash, rest = name.partition("/")
    return rest if slash and top.lower() in ALIASES else name


QUICK = Recipe(
    source=(
        "MAML's settings for mini-ImageNet, arXiv 1703.03400, appendix A.1, with fewer updates. The step sizes of "
        "reptile, scratch and finetune are no paper's: set by hand, not tuned"
    ),
    budget={
        "updates": 300,
        "meta_batch_size": 4,
        "validations": 5,
        "validation_tasks": 60,
        "test_steps": 10,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 8}},
    shared={"inner_lr": 0.01, "inner_steps": 5, "outer_lr": 1e-3, "train_lr": 1e-3},
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"image-folder": image_folder}
