"""Where images of one's own lie: every file of a folder or of a zip file, none passed over without being counted."""

from __future__ import annotations

import functools
import os
import re
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metabench.api import read_member
from metabench_plugins.suites.own_data import plain

NOWHERE, HIDDEN, SPECIAL = "links that lead nowhere or in a circle", "hidden", "neither files nor folders"


class Source(NamedTuple):
    """A folder or zip file, opened."""

    place: str
    files: list[str]
    """Every file in it that can be read and is not hidden, by its path with `/`, in order."""
    read: Callable[[str, int], bytes]
    """The content of one, which may not be larger than so many bytes; raises ValueError."""
    stamp: Callable[[str], tuple[int, ...]]
    """What changes with a file, the time of its last change in nanoseconds first."""
    passed: Counter[str]
    """How many there are of what is not in `files`, by what they are."""


@contextmanager
def opened(place: Path) -> Iterator[Source]:
    """The files of a folder or of a zip file; a zip file is never unpacked to disk."""
    passed: Counter[str] = Counter()
    if place.is_dir():
        found = dict(walked(str(place), "", (), passed))
        files = shown(sorted(found), passed)
        yield Source(os.path.realpath(place), files, functools.partial(read_file, place), found.__getitem__, passed)
        return
    stamp = stamp_of(os.stat(place))
    with zipfile.ZipFile(place) as archive:
        members = members_of(archive, passed)
        lock = threading.Lock()

        def read(file: str, limit: int) -> bytes:
            with lock:
                return read_member(archive, members[file], limit)

        yield Source(os.path.realpath(place), shown(sorted(members), passed), read, lambda file: stamp, passed)


def walked(
    folder: str, prefix: str, above: tuple[tuple[int, int], ...], passed: Counter[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The files below a folder with their stamps, through links, but never round in a circle. Raises OSError."""
    about = os.stat(folder)
    here = (about.st_dev, about.st_ino)
    if here in above:
        passed[NOWHERE] += 1
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            try:
                inside = entry.is_dir()
                found = None if inside else entry.stat()
            except OSError:  # a link to itself, or to nothing
                passed[NOWHERE] += 1
                continue
            if found is None:
                yield from walked(entry.path, f"{name}/", (*above, here), passed)
            elif stat.S_ISREG(found.st_mode):
                yield name, stamp_of(found)
            else:
                passed[SPECIAL] += 1


def stamp_of(found: os.stat_result) -> tuple[int, ...]:
    """See Source.stamp."""
    return max(found.st_mtime_ns, found.st_ctime_ns), found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def members_of(archive: zipfile.ZipFile, passed: Counter[str]) -> dict[str, str]:
    """The files of an archive by their path with `/`, also where it was packed with backslashes."""
    members: dict[str, str] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if name.endswith("/"):
            continue
        if ".." in PurePosixPath(name).parts or name.startswith("/") or re.match("[A-Za-z]:/", name):
            raise ValueError(f"it holds {info.filename!r}, a path outside of it")
        if name in members:
            raise ValueError(f"it holds two files called '{name}'")
        if stat.S_ISLNK(info.external_attr >> 16):
            passed["links in an archive"] += 1
        else:
            members[name] = info.filename
    return members


def shown(files: list[str], passed: Counter[str]) -> list[str]:
    """Those that are neither hidden nor what macOS adds."""
    kept = [file for file in files if not any(part.startswith(".") or part == "__MACOSX" for part in file.split("/"))]
    if len(kept) < len(files):
        passed[HIDDEN] += len(files) - len(kept)
    return kept


def told(passed: Counter[str], others: Sequence[str]) -> str:
    """A line about what is passed over: what an opened source has not read, and `others`, files of no use."""
    kinds = passed.copy()
    first: dict[str, str] = {}
    for file in others:
        kind = PurePosixPath(file).suffix.lower() or "without a suffix"
        kinds[kind] += 1
        first.setdefault(kind, file)
    if not kinds:
        return ""
    listed = ", ".join(
        f"{number} {kind}" + (f" (such as '{plain(first[kind])}')" if kind in first else "")
        for kind, number in sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    )
    number = kinds.total()
    return f"{number} {'file is' if number == 1 else 'files are'} passed over: {listed}"


def read_file(folder: Path, file: str, limit: int) -> bytes:
    """See Source.read."""
    with open(os.path.join(folder, file), "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"'{file}' is larger than {limit:,} bytes")
    return content
