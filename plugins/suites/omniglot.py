"""Few-shot classification of handwritten characters: Omniglot (Lake, Salakhutdinov and Tenenbaum 2015).

1,623 characters, 20 drawings each, 105x105, made 28x28 and inverted, so that ink is 1. Files are of one bit a pixel.
MAML's, Reptile's, MAML++'s and Snell's code resize them as they are, and Pillow then takes the nearest pixel: strokes
break, and pixels are 0 or 1. iMAML's and learn2learn's make them grey first.
"""

from __future__ import annotations

import functools
import hashlib
import io
import random
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import nn

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
    read_member,
    stacked,
)
from metabench_plugins.suites import backbones
from metabench_plugins.suites.omniglot_recipes import QUICK, omniglot_recipes, with_paper_data

SIZE = 28
DRAWINGS = 20
URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"

ARCHIVES = {
    "images_background": ("md5:68d2efa1b9178cc56df9314c21c6e718", 964),
    "images_evaluation": ("md5:6b91aef0f799c5bb55b94e3f2daec811", 659),
}
"""By archive: the checksum of the official download, and how many characters it holds."""

HELD_OUT = ("Armenian", "Early_Aramaic", "Hebrew", "Korean", "Tagalog")
"""The background alphabets of the validation split."""

COUNTS = {
    "background": {"train": 822, "validation": 142, "test": 659},
    "random": {"train": 1100, "validation": 100, "test": 423},
    "all": {"train": 1623},
}
"""Characters of each split."""

ARCHIVE_LIMIT = 64 * 2**20
FILE_LIMIT = 64 * 2**10  # bytes; the official archives have 9 MB at most, their drawings 500 bytes
SIDE_LIMIT = 512  # pixels; the official drawings have 105

Resize = Literal["lanczos", "nearest"]

VERSION = 1  # of the cache: to be raised whenever the code would make other images


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"omniglot": omniglot}


def omniglot(
    *,
    ways: Annotated[int, Range(ge=2)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    split: Literal["background", "random", "all"] = "background",
    exclude: str = "",
    rotations: bool = True,
    model: Literal["conv", "conv_pool", "mlp"] = "conv",
    filters: Size = 64,
    resize: Resize = "lanczos",
) -> Suite:
    """Handwritten characters. Downloads 15 MB once, or reads the two archives below METABENCH_DATA.

    `background` trains on the background alphabets but five, validates on those, tests on the evaluation alphabets.
    `random` is MAML's: 1,100 characters to train, 100 to validate (its code takes them from the paper's 1,200), 423
    to test. `all` trains on every character, for a test elsewhere: `--suites omniglot:emnist`. MAML's code turns test
    characters too, and has one at most once in a task; here, as in most later work, two of its turns may meet.

    Args:
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test: 15 as in most later work; MAML's
            code uses as many as `shots`.
        split: Which characters are for training, validation and test.
        exclude: Alphabets that are left out, with commas: Latin, where the test is on Latin letters of another suite.
        rotations: Make each character four classes, turned by 0, 90, 180 and 270 degrees, in every split; all four
            are always in one split.
        model: MAML's strided network, that of matching networks, or MAML's 256-128-64-64 without convolution.
        filters: Filters of each convolution.
        resize: How drawings are made smaller: by Lanczos's filter in grey, or to the nearest pixel as by MAML's code.
    """
    shape = Shape(ways, shots, queries)
    check_drawings(shape, DRAWINGS)
    for name, count in COUNTS[split].items():
        check_classes(shape, name, count * (4 if rotations else 1))
    load = functools.partial(load_splits, split, exclude, rotations, resize)
    recipes = omniglot_recipes(ways, {"updates": 300, **QUICK})
    recipes["paper"] = with_paper_data(recipes["paper"], shots)
    return image_suite("omniglot", shape, load, network(model, ways, filters), recipes)


def network(model: str, ways: int, filters: int) -> Callable[[], nn.Module]:
    """The function that makes a freshly initialised model."""
    if model == "mlp":
        return functools.partial(backbones.mlp_normalised, SIZE**2, backbones.FULLY_CONNECTED, ways)
    return functools.partial({"conv": backbones.conv_strided, "conv_pool": backbones.conv_pool}[model], ways, filters)


def load_splits(split: str, exclude: str, rotations: bool, resize: Resize) -> Splits:
    """By split its images; turned classes follow the unturned ones and bear the same names.

    Raises ValueError for an alphabet to exclude that there is not.
    """
    pixels, names = characters(resize)
    members = SPLITS[split](names)
    alphabet = [name.split("/")[1] for name in names]
    without = {name.strip() for name in exclude.split(",")} - {""}
    if unknown := sorted(without - set(alphabet)):
        raise ValueError(f"no alphabet '{unknown[0]}' to exclude. Available: {', '.join(sorted(set(alphabet)))}")
    splits = {}
    for name, every in members.items():
        rows = [row for row in every if alphabet[row] not in without]
        chosen = pixels[rows]
        turned = [chosen.rot90(turns, (2, 3)) for turns in range(4 if rotations else 1)]
        splits[name] = stacked(torch.cat(turned), tuple(names[row] for row in rows) * len(turned))
    return Splits(splits)


def background_split(names: tuple[str, ...]) -> dict[str, list[int]]:
    """By split the indices of its characters: the authors' archives, and HELD_OUT for validation."""
    members: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for row, name in enumerate(names):
        archive, alphabet, _ = name.split("/")
        background = "validation" if alphabet in HELD_OUT else "train"
        members[background if archive == "images_background" else "test"].append(row)
    return members


def random_split(names: tuple[str, ...]) -> dict[str, list[int]]:
    """By split the indices of its characters: shuffled once and for all, then cut as in MAML's code."""
    rows = list(range(len(names)))
    random.Random(1).shuffle(rows)
    return {"train": rows[:1100], "validation": rows[1100:1200], "test": rows[1200:]}


SPLITS: dict[str, Callable[[tuple[str, ...]], dict[str, list[int]]]] = {
    "background": background_split,
    "random": random_split,
    "all": lambda names: {"train": list(range(len(names)))},
}


def characters(resize: Resize = "lanczos") -> tuple[torch.Tensor, tuple[str, ...]]:
    """All 1,623: uint8 (characters, 20, 28, 28), and their names, archive/alphabet/character.

    Raises DataError if an archive is missing, cannot be read or is not complete.
    """
    pixels, names = [], []
    for name, (checksum, count) in ARCHIVES.items():
        path = fetch("omniglot", f"{name}.zip", f"{URL}{name}.zip", checksum)
        arrays = load_archive(path, name, count, resize)
        pixels.append(torch.from_numpy(arrays["pixels"]))
        names.extend(arrays["names"].tolist())
    return torch.cat(pixels), tuple(names)


def load_archive(path: Path, name: str, count: int, resize: Resize) -> dict[str, np.ndarray]:
    """The drawings of one archive, from the cache where it was read before; raises DataError that names it."""
    remedy = f"Replace it with {URL}{name}.zip."
    try:
        if path.stat().st_size > ARCHIVE_LIMIT:
            raise ValueError(f"it is larger than {ARCHIVE_LIMIT:,} bytes")
        manner = "" if resize == "lanczos" else f"-{resize}"
        key = f"omniglot-{VERSION}{manner}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        return cached_arrays(key, functools.partial(read_archive, path, name, count, resize))
    except DataError as error:
        raise DataError(f"Suite 'omniglot': '{path}' {error}. {remedy}") from None
    except Exception as error:  # a damaged archive makes zipfile and PIL raise almost anything
        raise DataError(
            f"Suite 'omniglot': '{path}' cannot be read ({type(error).__name__}: {error}). {remedy}"
        ) from None


def read_archive(path: Path, name: str, count: int, resize: Resize) -> dict[str, np.ndarray]:
    """The drawings of one archive, sorted by name. Raises DataError if they are not `count` times 20."""
    with zipfile.ZipFile(path) as archive:
        found = members(archive, name)
        complete = [character for character, files in found.items() if len(files) == DRAWINGS]
        if len(found) != count or len(complete) != count:
            raise DataError(
                f"is incomplete: expected {count} characters with {DRAWINGS} drawings each, "
                f"found {len(found)}, of which {len(complete)} with {DRAWINGS}"
            )
        with warnings.catch_warnings(action="ignore"):  # PIL's of large images: we have a limit of our own
            pixels = np.stack([[drawing(archive, file, resize) for file in files] for files in found.values()])
    return {"pixels": pixels, "names": np.array(list(found))}


def members(archive: zipfile.ZipFile, name: str) -> dict[str, list[str]]:
    """The files of each character, both in order, by archive/alphabet/character. Others are passed over."""
    found: dict[str, list[str]] = {}
    for file in sorted(archive.namelist()):
        match = re.fullmatch(rf"(?:[\w.-]+/)*({name}/[\w().-]+/character\d+)/\d+_\d+\.png", file)
        if match and not {"..", "__MACOSX"} & set(file.split("/")):
            found.setdefault(match[1], []).append(file)
    return found


def drawing(archive: zipfile.ZipFile, file: str, resize: Resize) -> np.ndarray:
    """One file of the archive; raises ValueError with its name if it is not what it should be."""
    content = read_member(archive, file, FILE_LIMIT)
    try:
        return small(content, resize)
    except Exception as error:
        raise ValueError(f"'{file}': {error}") from None


def small(content: bytes, resize: Resize = "lanczos") -> np.ndarray:
    """One PNG as uint8 (28, 28), 255 where the ink is. Raises ValueError before a large one is unpacked."""
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
    except UnidentifiedImageError:
        raise ValueError("it is no PNG") from None
    with image:
        if max(image.size) > SIDE_LIMIT:
            raise ValueError(
                f"it has {image.size[0]} x {image.size[1]} pixels, more than {SIDE_LIMIT} x {SIDE_LIMIT}"
            )
        grey = image.convert("L").resize((SIZE, SIZE), Image.Resampling[resize.upper()])
    return 255 - np.asarray(grey)
