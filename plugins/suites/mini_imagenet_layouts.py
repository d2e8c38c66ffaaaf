"""The layouts in which people have mini-ImageNet: class folders by split, images with CSV files, pickles."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from posixpath import basename, splitext
from typing import NamedTuple

import numpy as np

from metabench_plugins.suites import safe_pickle
from metabench_plugins.suites.image_files import FILE_LIMIT, small
from metabench_plugins.suites.image_source import Source
from metabench_plugins.suites.own_data import ALIASES
from metabench_plugins.suites.pixels import formats

SIDE = 84
PICKLE_LIMIT = 4 * 2**30
HELD_OUT = {
    "validation": (
        "n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370 n03417042 "
        "n03535780 n03584254 n03770439 n03773504 n03980874 n09256479"
    ),
    "test": (
        "n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484 n02871525 "
        "n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357 n04522168 n07613480"
    ),
}
"""The classes that do not train; the other 64 do."""


class Part(NamedTuple):
    """The images of one class, or of a pickle of many: a function that reads them."""

    read: Callable[[], dict[str, np.ndarray]]
    """By class uint8 (images, 3, 84, 84)."""
    counts: dict[str, int]
    """By class, where it is known before they are read."""


def only_zip(place: Path) -> Path:
    """The zip file of a folder that holds one and nothing else that counts, or the place itself."""
    found = [each for each in place.iterdir() if not each.name.startswith(".")] if place.is_dir() else []
    return found[0] if len(found) == 1 and found[0].suffix == ".zip" else place


def parts_of(source: Source) -> tuple[list[Part], list[str], int]:
    """What there is to read, from which files, and the limit of their size in bytes. Raises ValueError."""
    pickles = [file for file in source.files if splitext(file)[1] in (".pkl", ".pickle")]
    if pickles:
        named = [file for file in pickles if any(split in basename(file) for split in ("train", "val", "test"))]
        return [Part(functools.partial(read_pickle, source, file), {}) for file in named], named, PICKLE_LIMIT
    images = [file for file in source.files if splitext(file)[1].lower() in formats()[1]]
    tables = [file for file in source.files if splitext(basename(file))[0] in ALIASES and file.endswith(".csv")]
    found = by_tables(source, tables, images) if tables else by_folders(images)
    parts = [
        Part(functools.partial(read_images, source, name, files), {name: len(files)})
        for name, files in sorted(found.items())
    ]
    if not parts:
        raise ValueError("it holds no images in train/, val/ and test/, no CSV files and no pickles")
    return parts, [file for _, files in sorted(found.items()) for file in files], FILE_LIMIT


def by_folders(images: list[str]) -> dict[str, list[str]]:
    """The files of each class, by its folder, which lies in that of its split."""
    found: dict[str, list[str]] = {}
    for file in images:
        split, name = ["", "", *file.split("/")][-3:-1]
        check_split(name, ALIASES.get(split.lower(), split), file)
        found.setdefault(name, []).append(file)
    return found


def by_tables(source: Source, tables: list[str], images: list[str]) -> dict[str, list[str]]:
    """The files of each class, by rows filename,label; a file may lie in any folder."""
    places = {basename(file): file for file in images}
    used: set[str] = set()
    found: dict[str, list[str]] = {}
    for table in sorted(tables):
        text = source.read(table, FILE_LIMIT).decode("utf-8-sig")
        for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            file, name = row.get("filename") or "", row.get("label") or ""
            if file not in places or file in used:
                again = "again" if file in used else "which is not there"
                raise ValueError(f"row {number} of '{table}' names '{file}'{' ' if file in used else ', '}{again}")
            check_split(name, ALIASES[splitext(basename(table))[0]], f"{table}, row {number}")
            used.add(file)
            found.setdefault(name, []).append(places[file])
    return found


def check_split(name: str, split: str, where: str) -> None:
    """Raise ValueError for a class that is in another split than Ravi's."""
    right = next((each for each, listed in HELD_OUT.items() if name in listed.split()), "train")
    if not re.fullmatch(r"n\d{8}", name) or split != right:
        raise ValueError(f"'{where}' has the class '{name}' in {split or 'no split'}: by Ravi's it is one of {right}")


def read_images(source: Source, name: str, files: list[str]) -> dict[str, np.ndarray]:
    """The images of a class."""
    return {name: np.stack([small(source.read(file, FILE_LIMIT), file, SIDE, 3) for file in files])}


def read_pickle(source: Source, file: str) -> dict[str, np.ndarray]:
    """The classes of a pickle: {"image_data": uint8 (images, 84, 84, 3), "class_dict": {class: indices}}."""
    held = safe_pickle.load(source.read(file, PICKLE_LIMIT))
    pixels = held.get("image_data") if isinstance(held, dict) else None
    classes = held.get("class_dict") if isinstance(held, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"'{file}' holds no image_data of uint8 (images, {SIDE}, {SIDE}, 3)")
    if not isinstance(classes, dict):
        raise ValueError(f"'{file}' holds no class_dict")
    split = next(ALIASES[each] for each in ("train", "val", "test") if each in basename(file))
    for name in classes:
        check_split(str(name), split, file)
    return {str(name): pixels[np.asarray(rows, np.int64)].transpose(0, 3, 1, 2) for name, rows in classes.items()}
