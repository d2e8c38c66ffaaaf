"""Few-shot classification of one's own images: a folder, or a zip file, of class folders."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import PurePosixPath
from posixpath import splitext
from typing import Annotated, Literal

import torch
from torch import nn

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
from metabench_plugins.suites import backbones
from metabench_plugins.suites.image_files import small_images
from metabench_plugins.suites.image_source import Source, opened, read_file, told
from metabench_plugins.suites.own_data import (
    ALIASES,
    SPLIT_LIMIT,
    SPLITS,
    digest_of_names,
    given_split,
    locate,
    members,
    plain,
)
from metabench_plugins.suites.pixels import formats


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
    min_images: Literal["refuse", "drop"] = "refuse",
) -> Suite:
    """Your own images: `path` is a folder or zip file of class folders, each with the images of one class.

    A class is called by its folder, below what all have in common: `cat`, or `animals/cat`. Without a split file, top
    folders called train, validation (or val) and test are the splits. NOTE: without these either, classes are split
    by the hash of their names, 60% to train, 20% to validate, 20% to test: the same for the same set of classes, but
    a class more or less may move others. Classes may differ in how many images they have; each needs shots + queries.

    Images are read as viewers show them: turned by their EXIF data, transparent parts white, and those of 16 bits a
    sample over the full range of the 10, 12 or 16 bits that all of them together use. Symbolic links are followed.
    Names are compared in one Unicode form. A line says which files and classes are passed over.

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
        min_images: What becomes of a class with fewer than shots + queries images: the data are refused, or the class
            is dropped, after the split, and named.
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
    return image_suite("image-folder", shape, load, network, {"quick": QUICK}, min_images)


def load_splits(path: str, split: str, size: int, channels: int) -> Splits:
    """By split its images; raises DataError in one line that names the file."""
    try:
        with opened(locate(path)) as source:
            suffixes = formats()[1]
            images = [file for file in source.files if splitext(file)[1].lower() in suffixes]
            if not images:
                why = told(source.passed, source.files)
                raise ValueError(f"it holds no images in class folders{why and f'; {why}'}")
            classes = classes_of(images)
            splits = splits_of(sorted(set(classes)), split, source)
            used = sorted((name, file) for name, file in zip(classes, images) if name in splits)
            files = [file for _, file in used]
            pixels, digest = small_images(source, files, size, channels)
            notes = notes_of(source, images, split, sorted(set(classes) - splits.keys()), len(images) - len(used))
    except DataError as error:
        raise DataError(f"Suite 'image-folder': '{path}': {error}") from None
    except Exception as error:  # damaged archives and images make zipfile and PIL raise almost anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise DataError(f"Suite 'image-folder': '{path}' cannot be used: {kind}{error}.") from None
    by_class = of_classes(torch.from_numpy(pixels), [name for name, _ in used])
    found = {each: by_class.only(members(splits, each)) for each in SPLITS}
    named = {each: images._replace(names=tuple(map(bare, images.names))) for each, images in found.items()}
    return Splits(named, tuple(f"'{path}': {note}" for note in notes), digest + digest_of_names(splits))


def notes_of(source: Source, images: list[str], split: str, unused: list[str], left: int) -> list[str]:
    """What is passed over: files, and classes that the split file leaves out."""
    others = sorted(set(source.files) - set(images) - {split})
    notes = [note for note in (told(source.passed, others),) if note]
    if unused:
        few = ", ".join(f"'{name}'" for name in unused[:5]) + (" ..." if len(unused) > 5 else "")
        notes.append(f"the split file leaves out {len(unused)} classes with {left} images: {few}")
    return notes


def classes_of(images: list[str]) -> list[str]:
    """Of each image its class: the folder that it lies in, below what all folders have in common."""
    folders = [tuple(plain(file).split("/")[:-1]) for file in images]
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
            if not found:
                raise ValueError("it is empty")
        except (ValueError, OSError, RecursionError) as error:
            raise DataError(f"the split file '{split}' cannot be used: {error}.") from None
        unknown = sorted(found.keys() - set(classes))
        if unknown:
            raise DataError(
                f"the split file '{split}' names {len(unknown)} classes that are not there, such as '{unknown[0]}'. "
                f"There are {len(classes)}, such as '{classes[0]}'."
            )
        return found
    tops = {name: name.split("/")[0] for name in classes}
    others = sorted({top for name, top in tops.items() if top.lower() not in ALIASES or "/" not in name})
    if not others:
        return {name: ALIASES[top.lower()] for name, top in tops.items()}
    if len({ALIASES[top.lower()] for top in tops.values() if top.lower() in ALIASES}) > 1:
        raise DataError(
            f"its top folders are splits (train, validation, test), but for '{others[0]}'. Take it away, or give a "
            "split file."
        )
    return split_by_hash(classes)


def read_split(split: str) -> bytes:
    """A split file that does not lie among the images."""
    place = locate(split)
    return read_file(place.parent, place.name, SPLIT_LIMIT)


def bare(name: str) -> str:
    """`train/cat` and `test/cat` are both `cat`, so that the overlap is seen."""
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
