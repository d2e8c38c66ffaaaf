"""Images of one's own on disk: the files of a folder or zip file, read once, made small and kept in the cache."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from metabench.api import cached_arrays, read_member

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]
FILE_LIMIT = 64 * 2**20
"""Bytes of one image file."""
PIXEL_LIMIT = 50_000_000
"""Of one image before it is made small: a small file may unpack to a huge one."""
VERSION = 2
"""Part of the cache key: to be raised whenever the code would make other images."""


class Source(NamedTuple):
    """A folder or zip file, opened."""

    files: list[str]
    """Every file in it, by its path with `/`, in order."""
    read: Callable[[str, int], bytes]
    """The content of one, which may not be larger than so many bytes; raises ValueError."""


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
            plain = eight_bits(image).convert("RGB" if channels == 3 else "L")
            pixels = np.asarray(plain.resize((size, size), Image.Resampling.LANCZOS))
    except UnidentifiedImageError:
        raise ValueError(f"the image '{file}' is damaged, or none that can be read") from None
    except Exception as error:
        raise ValueError(f"the image '{file}' is damaged or unusual ({' '.join(str(error).split())})") from None
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


def eight_bits(image: Image.Image) -> Image.Image:
    """An image of 16 bits a pixel with the upper eight of them, where PIL would make everything above 255 white."""
    if image.mode in ("I", "F"):
        raise ValueError("it has 32 bits a pixel: save it with 8 or 16")
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I;16") else image
