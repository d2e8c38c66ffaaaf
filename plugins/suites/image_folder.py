"""Few-shot classification of one's own images: a folder, or a zip file, of class folders."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import nn

from metabench.api import DataError, Recipe, Suite, cached_arrays, hookimpl, read_member
from metabench_plugins.suites import backbones
from metabench_plugins.suites.fewshot import Images, Shape, image_suite
from metabench_plugins.suites.own_data import ALIASES, SPLIT_LIMIT, SPLITS, by_hash, given_split, locate, members

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]
FILE_LIMIT = 64 * 2**20
"""Bytes of one image file."""
PIXEL_LIMIT = 50_000_000
"""Of one image before it is made small: a small file may unpack to a huge one."""
TOTAL_LIMIT = 4 * 2**30
"""Bytes of all images once they are small; mini-ImageNet in colour at 84x84 has 1.3e9."""

VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""


def image_folder(
    *,
    path: str = "",
    split: str = "",
    size: int = 84,
    channels: Literal[1, 3] = 3,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    model: Literal["conv_pool", "conv_strided"] = "conv_pool",
    filters: int = 32,
) -> Suite:
    """Your own images: `path` is a folder or zip file of class folders, each with the images of one class.

    A class is called by its folder, below what all have in common: `cat`, or `animals/cat`. `split` is a file,
    beside the images or anywhere: JSON {"cat": "train", ...} or CSV with rows `cat,train`; classes that it leaves
    out are not used. Without one, top folders called train, validation (or val) and test are the splits. NOTE:
    without these either, classes are split by the hash of their names, 60% to train, 20% to validate, 20% to
    test: the same for the same set of classes, but a class more or less may move others.

    Images are resized to `size` x `size` pixels, whatever their shape, and read in colour or grey (`channels`).
    `conv_pool` with 32 filters on 84x84 is MAML's network for mini-ImageNet, `conv_strided` the one for Omniglot.
    Classes may differ in how many images they have; each needs shots + queries.
    """
    shape = Shape(ways, shots, queries)
    if not path:
        raise ValueError("path must name a folder or zip file of class folders: --set image-folder.path=FOLDER")
    for name, value, least, most in (("size", size, 16, 512), ("filters", filters, 1, 4096)):
        if not least <= value <= most:
            raise ValueError(f"{name} must be from {least} to {most}, not {value}")
    network: Callable[[], nn.Module]
    if model == "conv_pool":
        network = functools.partial(backbones.conv_pool, ways, filters, channels, size)
    else:
        network = functools.partial(backbones.conv_strided, ways, filters, channels)
    load = functools.partial(load_splits, path, split, size, channels)
    return image_suite("image-folder", shape, load, network, {"quick": QUICK})


class Source(NamedTuple):
    """A folder or zip file, opened."""

    files: list[str]
    """Every file in it, by its path with `/`, in order."""
    read: Callable[[str, int], bytes]
    """The content of one, which may not be larger than so many bytes; raises ValueError."""


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


@contextmanager
def opened(place: Path) -> Iterator[Source]:
    """The files of a folder or of a zip file; a zip file is never unpacked to disk."""
    if place.is_dir():
        files = sorted(each.relative_to(place).as_posix() for each in place.rglob("*") if each.is_file())
        yield Source([file for file in files if shown(file)], functools.partial(read_file, place))
        return
    with zipfile.ZipFile(place) as archive:
        files = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        for file in files:
            if ".." in PurePosixPath(file).parts or file.startswith(("/", "\\")) or ":" in file or "\\" in file:
                raise ValueError(f"it holds {file!r}, a path outside of it")
        yield Source([file for file in files if shown(file)], functools.partial(read_member, archive))


def shown(file: str) -> bool:
    """Neither hidden nor what macOS adds."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(file).parts)


def read_file(folder: Path, file: str, limit: int) -> bytes:
    """See Source.read."""
    with open(folder / file, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"'{file}' is larger than {limit:,} bytes")
    return content


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
    tops = {name.split("/")[0] for name in classes}
    if tops <= ALIASES.keys() and all("/" in name for name in classes):
        return {name: ALIASES[name.split("/")[0]] for name in classes}
    return by_hash(classes)


def read_split(split: str) -> bytes:
    """A split file that does not lie among the images."""
    place = locate(split)
    return read_file(place.parent, place.name, SPLIT_LIMIT)


def small_images(source: Source, files: list[str], size: int, channels: int) -> dict[str, np.ndarray]:
    """`pixels`: uint8 (images, channels, size, size), from the cache where the same files were read before."""
    content = hashlib.sha256(f"{VERSION} {size} {channels}".encode())
    for file in files:
        digest = hashlib.sha256(source.read(file, FILE_LIMIT)).digest()
        content.update(hashlib.sha256(file.encode()).digest() + digest)

    def build() -> dict[str, np.ndarray]:
        pixels = np.empty((len(files), channels, size, size), np.uint8)
        with warnings.catch_warnings(action="ignore"):  # PIL's of large images: we have a limit of our own
            for place, file in enumerate(files):
                pixels[place] = small(source.read(file, FILE_LIMIT), file, size, channels)
        return {"pixels": pixels}

    return cached_arrays(f"image-folder-{content.hexdigest()[:32]}", build)


def small(content: bytes, file: str, size: int, channels: int) -> np.ndarray:
    """One image as uint8 (channels, size, size). Raises ValueError before a huge one is unpacked."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ValueError(f"it has {image.width} x {image.height} pixels, more than {PIXEL_LIMIT:,}")
            plain = image.convert("RGB" if channels == 3 else "L")
            pixels = np.asarray(plain.resize((size, size), Image.Resampling.LANCZOS))
    except UnidentifiedImageError:
        raise ValueError(f"the image '{file}' is damaged, or none that can be read") from None
    except Exception as error:
        raise ValueError(f"the image '{file}' is damaged or unusual ({' '.join(str(error).split())})") from None
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


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
    return rest if slash and top in ALIASES else name


GRADIENT = {"inner_lr": 0.01, "inner_steps": 5, "outer_lr": 1e-3}
QUICK = Recipe(
    source=(
        "MAML's settings for mini-ImageNet, arXiv 1703.03400, appendix A.1, with fewer updates. The step sizes of "
        "reptile, scratch and finetune are no paper's: tried by hand on validation tasks"
    ),
    budget={
        "updates": 300,
        "meta_batch_size": 4,
        "validations": 5,
        "validation_tasks": 60,
        "test_steps": 10,
        "test_tasks": 600,
    },
    algorithms={
        **dict.fromkeys(("maml", "fomaml", "l2l-maml", "l2l-fomaml", "l2l-metasgd"), GRADIENT),
        "reptile": {"inner_lr": 0.01, "inner_steps": 8, "outer_lr": 1.0},
        "scratch": {"inner_lr": 0.01},
        "finetune": {"inner_lr": 0.01, "train_lr": 1e-3},
    },
)


@hookimpl
def register_suites():
    return {"image-folder": image_folder}
