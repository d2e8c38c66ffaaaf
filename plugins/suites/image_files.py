"""Images of one's own on disk: the files of a folder or zip file, made small in parallel and kept in the cache."""

from __future__ import annotations

import functools
import hashlib
import time
import warnings

import numpy as np

from metabench.api import cache_dir, in_parallel, mapped_array
from metabench_plugins.suites.image_source import Source
from metabench_plugins.suites.pixels import FULL, bits_of, decoded

FILE_LIMIT = 64 * 2**20
"""Bytes of one image file."""
VERSION = 3
"""Part of the cache key: to be raised whenever the code would make other images."""
CHUNK = 128
"""Files that a thread reads before it takes others."""
SETTLED = 2.0
"""Seconds after which a file that is written again has another time stamp, on any file system."""


def small_images(source: Source, files: list[str], size: int, channels: int) -> tuple[np.ndarray, str]:
    """uint8 (images, channels, size, size), mapped from the cache, and the digest of the files' content."""
    content = content_of(source, files)
    key = hashlib.sha256(f"{VERSION} {size} {channels} {content}".encode()).hexdigest()[:32]
    shape = (len(files), channels, size, size)
    return mapped_array(f"image-folder-{key}", shape, functools.partial(fill, source, files)), content[:16]


def content_of(source: Source, files: list[str], limit: int = 0) -> str:
    """A digest of the names and the content of files; read anew only where a time stamp or a size has changed.

    `limit` is that of a file's size, in bytes, where it is not FILE_LIMIT.
    """
    stamps = [source.stamp(file) for file in files]
    listed = hashlib.sha256(repr((source.place, list(zip(files, stamps)))).encode()).hexdigest()[:32]
    known = cache_dir() / "image-folder-files" / listed
    try:
        return known.read_text(encoding="ascii")
    except (OSError, ValueError):
        pass

    def digest(part: list[str]) -> bytes:
        return b"".join(hashlib.sha256(source.read(file, limit or FILE_LIMIT)).digest() for file in part)

    whole = hashlib.sha256(repr(files).encode())
    for digests in in_parallel(digest, chunks(files), f"Reading {len(files):,} images"):
        whole.update(digests)
    content = whole.hexdigest()
    if max(stamp[0] for stamp in stamps) < (time.time() - SETTLED) * 1e9:
        try:
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(content, encoding="ascii")
        except OSError:  # a cache that cannot be written costs time, not correctness
            pass
    return content


def chunks(files: list[str]) -> list[list[str]]:
    """The files, some at a time."""
    return [files[first : first + CHUNK] for first in range(0, len(files), CHUNK)]


def fill(source: Source, files: list[str], pixels: np.ndarray) -> None:
    """Make every image small. Those of 16 bits are read by the bits that all of them together use."""
    size, channels = pixels.shape[2], pixels.shape[1]
    places = {file: place for place, file in enumerate(files)}

    def read(deepest: int, part: list[str]) -> dict[str, int]:
        found = {}
        for file in part:
            pixels[places[file]], deep = decoded(source.read(file, FILE_LIMIT), file, size, channels, deepest)
            if deep is not None:
                found[file] = deep
        return found

    label = f"Preparing {len(files):,} images ({pixels.nbytes / 1e9:.2f} GB)"
    with warnings.catch_warnings(action="ignore"):  # PIL's of large images: we have a limit of our own
        parts = in_parallel(functools.partial(read, FULL), chunks(files), label)
        deep = {file: most for part in parts for file, most in part.items()}
        deepest = max(deep.values(), default=FULL)
        if bits_of(deepest) < bits_of(FULL):
            in_parallel(functools.partial(read, deepest), chunks(list(deep)), label)


def small(content: bytes, file: str, size: int, channels: int) -> np.ndarray:
    """One image by itself as uint8 (channels, size, size); see `decoded`."""
    pixels, deepest = decoded(content, file, size, channels, FULL)
    if deepest is not None and bits_of(deepest) < bits_of(FULL):
        pixels, _ = decoded(content, file, size, channels, deepest)
    return pixels
