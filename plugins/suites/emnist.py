"""Few-shot classification of handwritten digits and letters: EMNIST by class (Cohen et al. 2017), NIST SD 19."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import struct
import zipfile
from math import prod
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
    check_classes,
    fetch,
    hookimpl,
    image_suite,
    mapped_array,
    of_classes,
    read_member,
)
from metabench_plugins.suites.omniglot import network
from metabench_plugins.suites.omniglot_recipes import QUICK, omniglot_recipes
from metabench_plugins.suites.own_data import locate

URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
CHECKSUM = "md5:58c8d27c78d21e728a6bc7b3cc06412e"
CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
IMAGES = {"test": 116_323, "train": 697_932}
"""Images of each part of the official data."""
SIDE = 28
LIMIT = 2**30
"""Bytes of a file, unpacked."""
VERSION = 1
"""Part of the cache key: to be raised whenever the code would make other images."""


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"emnist": emnist}


def emnist(
    *,
    ways: Annotated[int, Range(ge=2, le=31)] = 5,
    shots: Size = 1,
    queries: Size = 15,
    split: Literal["three-way", "cross-char"] = "three-way",
    part: Literal["test", "all"] = "test",
    model: Literal["conv", "conv_pool", "mlp"] = "conv",
    filters: Size = 64,
) -> Suite:
    """Handwritten digits and letters, 62 classes, 28x28. Downloads 560 MB once, or reads below METABENCH_DATA.

    The split `cross-char` is that of CloserLookFewShot, Omniglot to EMNIST: even-numbered classes validate, odd ones
    test, and there is none to train on. `three-way` parts the even ones into 21 to train and 10 to validate, and has
    the same test tasks. NOTE: capitals and small letters of one shape (o, O and 0) may be in two splits.

    Args:
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set, in training and in the test.
        split: Which classes are for training, validation and test.
        part: Of the official parts, the test part alone (116,323 images) or both (814,255).
        model: MAML's strided network for Omniglot, that of matching networks, or MAML's without convolution.
        filters: Filters of each convolution.
    """
    shape = Shape(ways, shots, queries)
    if split == "three-way":
        check_classes(shape, "validation", 10)
    load = functools.partial(load_splits, split, part)
    recipes = omniglot_recipes(ways, {"updates": 300, **QUICK})
    return image_suite("emnist", shape, load, network(model, ways, filters), recipes)


def members(split: str) -> dict[str, tuple[str, ...]]:
    """The classes of each split."""
    even, odd = CLASSES[::2], CLASSES[1::2]
    if split == "cross-char":
        return {"validation": even, "test": odd}
    held_out = even[1::3]
    return {"train": tuple(name for name in even if name not in held_out), "validation": held_out, "test": odd}


def load_splits(split: str, part: str) -> Splits:
    """By split its images; raises DataError in one line that names the file."""
    pixels, labels, whole, digest = characters(("test", "train") if part == "all" else ("test",))
    images = of_classes(torch.from_numpy(pixels), [CLASSES[label] for label in labels])
    found = {name: images.only(names) for name, names in members(split).items()}
    note = f"these are {len(labels):,} images of EMNIST's {whole:,}: a sample, whose scores are not those of EMNIST"
    return Splits(found, () if len(labels) == whole else (note,), digest)


def characters(parts: tuple[str, ...]) -> tuple[np.ndarray, list[int], int, str]:
    """Images class after class, their labels, how many there are officially, and a digest; raises DataError."""
    labels, files = [], {}
    for part in parts:
        content = file_of(f"emnist-byclass-{part}-labels-idx1-ubyte.gz")
        labels.append(idx(content, f"labels of '{part}'", 1))
        files[part] = file_of(f"emnist-byclass-{part}-images-idx3-ubyte.gz")
    every = np.concatenate(labels)
    if every.max() >= len(CLASSES) or len(np.unique(every)) < len(CLASSES):
        raise DataError(f"Suite 'emnist': its labels are not the {len(CLASSES)} of EMNIST by class.")
    order = np.argsort(every, kind="stable")
    whole = hashlib.sha256(f"{VERSION}".encode())
    for content in (every.tobytes(), *files.values()):
        whole.update(content)

    def fill(pixels: np.ndarray) -> None:
        read = np.concatenate([idx(files[part], f"images of '{part}'", 3) for part in parts])
        if read.shape != (len(every), SIDE, SIDE):
            raise DataError(f"Suite 'emnist': {len(every):,} labels, but images {read.shape}.")
        pixels[:, 0] = read.transpose(0, 2, 1)[order]  # they stand transposed in the official files

    digest = whole.hexdigest()[:16]
    pixels = mapped_array(f"emnist-{VERSION}-{digest}", (len(every), 1, SIDE, SIDE), fill)
    return pixels, every[order].tolist(), sum(IMAGES[part] for part in parts), digest


def file_of(name: str) -> bytes:
    """One of the official files, packed: below METABENCH_DATA, or of the archive of all. Raises DataError."""
    try:
        return locate(f"emnist/{name}").read_bytes()
    except ValueError:
        path = fetch("emnist", "gzip.zip", URL, CHECKSUM)
    try:
        with zipfile.ZipFile(path) as archive:
            return read_member(archive, f"gzip/{name}", LIMIT)
    except Exception as error:  # a damaged archive makes zipfile raise almost anything
        raise DataError(
            f"Suite 'emnist': '{path}' cannot be read ({type(error).__name__}: {error}). Replace it with {URL}."
        ) from None


def idx(content: bytes, what: str, axes: int) -> np.ndarray:
    """The uint8 array of an IDX file with so many axes; raises DataError."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            plain = file.read(LIMIT)
        magic, *shape = struct.unpack(f">{1 + axes}I", plain[: 4 * (1 + axes)])
        if magic != 0x800 + axes or len(plain) != 4 * (1 + axes) + prod(shape):
            raise ValueError(f"its header says {magic:#x} and {shape}, and it has {len(plain):,} bytes")
    except Exception as error:
        raise DataError(f"Suite 'emnist': the {what} cannot be read ({type(error).__name__}: {error}).") from None
    return np.frombuffer(plain, np.uint8, offset=4 * (1 + axes)).reshape(shape)
