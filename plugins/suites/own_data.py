"""What suites on the user's own data share: where it lies, and which split a class or task is in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

SPLITS = ("train", "validation", "test")
ALIASES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
SPLIT_LIMIT = 50 * 2**20
"""Bytes of a split file."""


def locate(path: str) -> Path:
    """A file or folder as it is given, or below METABENCH_DATA (`--data`); raises ValueError."""
    places = [Path(path)]
    if local := os.environ.get("METABENCH_DATA"):
        places.append(Path(local) / path)
    for place in places:
        if os.path.exists(place):  # unlike Path.exists, never an error
            return place
    looked = " or ".join(f"'{place}'" for place in places)
    raise ValueError(f"there is no {looked}; give the path, or with --data the folder that it is in")


def digest_of(place: Path) -> str:
    """Of the file's bytes."""
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def plain(name: str) -> str:
    """A name in the one normal form in which names are compared: letters with accents are written in two ways."""
    return unicodedata.normalize("NFC", name)


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose names are unique, where json would take the last; raises ValueError."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise ValueError(f"'{name}' is in two splits")
    return found


def given_split(content: bytes, suffix: str) -> dict[str, str]:
    """Name -> split from a file: JSON {name: split}, or CSV with the columns name,split (its first row may say so).

    Raises ValueError that names what is wrong.
    """
    text = content.decode("utf-8-sig")
    if suffix == ".json":
        table = json.loads(text, object_pairs_hook=once)
        if not isinstance(table, dict):
            raise ValueError("it must hold an object of class -> split")
        rows = [[str(name), str(split)] for name, split in table.items()]
    else:
        try:
            rows = [row for row in csv.reader(io.StringIO(text)) if row]
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if rows and rows[0][-1].strip().lower() == "split":
            del rows[0]
    found: dict[str, str] = {}
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"a row must be a class and its split, not {','.join(row)[:100]!r}")
        name, split = plain(row[0].strip()), row[1].strip()
        if split.lower() not in ALIASES:
            raise ValueError(f"the split of '{name}' must be train, validation or test, not {split!r}")
        if found.setdefault(name, ALIASES[split.lower()]) != ALIASES[split.lower()]:
            raise ValueError(f"'{name}' is in two splits")
    return found


def members(of: Mapping[str, str], split: str) -> list[str]:
    """The names of a split, in order."""
    return sorted(name for name, given in of.items() if given == split)


def digest_of_names(of: Mapping[str, str]) -> str:
    """Of which name is in which split."""
    return hashlib.sha256(json.dumps(sorted(of.items())).encode()).hexdigest()[:8]
