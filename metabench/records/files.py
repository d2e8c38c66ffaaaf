"""Atomic writes, checksums, and clearing up after a crash."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

TEMPORARY = ".metabench-"
"""What the name of a file begins with while it is being written."""


def cache_dir() -> Path:
    """`METABENCH_CACHE`, or the user's cache folder of the platform."""
    return Path(os.environ.get("METABENCH_CACHE") or platformdirs.user_cache_dir("metabench"))


class DamageWarning(UserWarning):
    """What was skipped because it is damaged."""


class DamagedError(Exception):
    """A file that is not what was written: cut short, altered, or of another version."""


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds either what it held before or all of `content`, whatever happens meanwhile. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    with suppress(OSError):  # the new name outlives a power cut too, where folders can be synchronised
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Delete temporary files of killed writers; call only while holding the lock."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that nothing reads it again; its new name, `.damaged` and a number added."""
    for number in range(1, 1000):
        place = path.with_name(f"{path.name}.damaged-{number}")
        if not place.exists():
            os.replace(path, place)
            return place
    raise OSError(f"too many damaged files beside '{path}'; remove some")


def checksum(content: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
