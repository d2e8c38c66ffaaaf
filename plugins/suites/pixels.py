"""One image file as the pixels that every viewer shows: upright, on white, with its full range."""

from __future__ import annotations

import functools
import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "PCX", "ICO"),
    *("QOI", "SGI"),
)
"""What is read, as far as the installed Pillow reads it: pictures alone, nothing that would start a program."""
PIXEL_LIMIT = 50_000_000
"""Of one image before it is made small: a small file may unpack to a huge one."""
FULL = 2**16 - 1
"""The largest value of 16 bits."""
TIFF_BITS = 258
"""The tag of a TIFF that holds its bits a sample."""


@functools.cache
def formats() -> tuple[tuple[str, ...], frozenset[str]]:
    """The formats that can be read here, and the suffixes of their files."""
    Image.init()
    known = tuple(name for name in FORMATS if name in Image.OPEN)
    named = Image.registered_extensions().items()
    return known, frozenset(suffix for suffix, name in named if name in known or name == "MPO")  # JPEGs of two views


def bits_of(deepest: int) -> int:
    """How many of 16 bits are in use where this is the largest value: 8, 10, 12 or all 16."""
    return next((bits for bits in (8, 10, 12) if deepest < 2**bits), 16)


def decoded(content: bytes, file: str, size: int, channels: int, deepest: int) -> tuple[np.ndarray, int | None]:
    """One image as uint8 (channels, size, size), and the largest value that it has if it has 16 bits a sample.

    `deepest` is the largest value that an image of 16 bits is taken to have: cameras and scanners put 10 or 12 bits
    into 16. Turned as its EXIF data say; transparent parts white. Raises ValueError. A huge one is never unpacked.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats()[0]) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ValueError(f"it has {image.width} x {image.height} pixels, more than {PIXEL_LIMIT:,}")
            bright, most = eight_bits(image, content, deepest)
            shown = on_white(upright(image, bright)).convert("RGB" if channels == 3 else "L")
            pixels = np.asarray(shown.resize((size, size), Image.Resampling.LANCZOS))
    except UnidentifiedImageError:
        raise ValueError(f"the image '{file}' is damaged, or none that can be read") from None
    except Exception as error:
        raise ValueError(f"the image '{file}' is damaged or unusual ({' '.join(str(error).split())})") from None
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None], most


def eight_bits(image: Image.Image, content: bytes, deepest: int) -> tuple[Image.Image, int | None]:
    """The image with 8 bits a sample, and its largest value if it had 16."""
    bits = bits_of(deepest)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64)
        shade = image.info.get("transparency")
        seen = values if shade is None else values[values != shade]
        most = int(seen.max(initial=0))
        grey = (values >> (bits - 8)).clip(0, 255)
        if shade is not None:
            grey[values == shade] = 255
        return Image.fromarray(grey.astype(np.uint8)), most
    if image.mode in ("I", "F"):
        raise ValueError("it has 32 bits a pixel: save it with 8 or 16")
    if not is_deep(image, content):
        return image, None
    image.load()
    most = max(high for _, high in ranges(image)) << 8 | 255  # Pillow keeps the upper eight bits of colours
    if bits < 16 and most > 255:
        raise ValueError(f"it has 16 bits a sample, of which {bits} are in use: save it with 8")
    return image, most if most > 255 else 0


def ranges(image: Image.Image) -> list[tuple[int, int]]:
    """The least and the largest value of each band of colour."""
    return [image.getchannel(band).getextrema() for band in image.getbands() if band.lower() != "a"]  # type: ignore


def is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether an image of colours had 16 bits a sample in its file."""
    if image.format == "PNG":
        return content[24] == 16
    if image.format == "TIFF":
        return bool(max(image.tag_v2.get(TIFF_BITS, (8,))) >= 16)  # type: ignore[attr-defined]
    return False


def upright(image: Image.Image, bright: Image.Image) -> Image.Image:
    """Turned as the EXIF data of `image` say; a damaged note does not matter to a viewer."""
    with suppress(Exception):
        if image.getexif().get(0x0112, 1) != 1:
            if bright is not image:  # which has lost its notes
                bright.info["exif"] = image.getexif().tobytes()
            return ImageOps.exif_transpose(bright)
    return bright


def on_white(image: Image.Image) -> Image.Image:
    """Transparent parts laid on white."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
