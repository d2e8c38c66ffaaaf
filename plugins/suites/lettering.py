"""Letters from the fonts that ship with matplotlib: which there are, which look alike, how they are drawn."""

from __future__ import annotations

import hashlib
import math
import random
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont, features

SIZE = 28
"""Height and width of a drawing, in pixels."""

CANVAS = 128
"""Height and width of what a letter is drawn on before it is distorted and made smaller."""

EM = 72
"""The font size on the canvas, in pixels."""

SMOOTH = 2
"""A drawing is first made this many times larger, then averaged down."""

TURN, SHEAR, SCALE, MOVE = 15.0, 0.2, (0.85, 1.15), 1.5
"""How far a drawing is distorted at most: degrees, a share of the height, factors, pixels."""


def font_files() -> tuple[Path, ...]:
    """The twelve DejaVu styles, sorted by name; not the two Display fonts, which hold few letters."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return tuple(path for path in sorted(folder.glob("DejaVu*.ttf")) if "Display" not in path.name)


def fingerprint(files: Iterable[Path]) -> str:
    """What drawings depend on: these files (fonts and code) and the libraries that draw."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    digest.update(f"{PIL.__version__} {features.version('freetype2')}".encode())
    return digest.hexdigest()[:16]


def letters(files: Iterable[Path]) -> tuple[str, ...]:
    """Every letter that all these fonts hold, in the order of Unicode."""
    from matplotlib.ft2font import FT2Font

    held = set.intersection(*(set(FT2Font(str(path)).get_charmap()) for path in files))
    return tuple(chr(code) for code in sorted(held) if unicodedata.category(chr(code)) in {"Lu", "Ll", "Lt", "Lo"})


def script(letter: str) -> str:
    """`LATIN`, `GREEK` ... : the first word of its name in Unicode."""
    return unicodedata.name(letter, "").split(" ")[0]


def truetype(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font with Pillow's own layout, which is there wherever Pillow is."""
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def shapes(text: Sequence[str], path: Path) -> np.ndarray:
    """Letters in one font, each scaled to fill a box of 32x32 whatever its size: float32 (letters, 1024)."""
    font, box, rows = truetype(path, 96), 32, []
    for letter in text:
        left, top, right, bottom = font.getbbox(letter)
        image = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), letter, font=font, fill=255)
        image = image.crop(image.getbbox())
        scale = box / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        filled = Image.new("L", (box, box))
        filled.paste(image.resize(size, Image.Resampling.BOX), ((box - size[0]) // 2, (box - size[1]) // 2))
        rows.append(np.asarray(filled, dtype=np.float32).ravel() / 255)
    return np.stack(rows)


def dissimilarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distance as a share of the fainter shape's squared ink: 0 for equals, about 1 for strangers."""
    ink_a, ink_b = (a * a).sum(1), (b * b).sum(1)
    apart: np.ndarray = (ink_a[:, None] + ink_b[None] - 2 * a @ b.T) / np.minimum(ink_a[:, None], ink_b[None])
    return apart


def drawings(text: Sequence[str], files: Sequence[Path], copies: int, distorted: bool = True) -> np.ndarray:
    """Every letter in every style, `copies` times: uint8 (letters, copies * styles, 28, 28), ink 255.

    The distortion of a drawing depends on its letter, style and copy alone.
    """
    made = np.empty((len(text), copies, len(files), SIZE, SIZE), dtype=np.uint8)
    for style, path in enumerate(files):
        font = truetype(path, EM)
        for row, letter in enumerate(text):
            canvas = Image.new("L", (CANVAS, CANVAS))
            left, top, right, bottom = font.getbbox(letter)
            corner = (CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2
            ImageDraw.Draw(canvas).text(corner, letter, font=font, fill=255)
            fits = max(1.0, max(right - left, bottom - top) / (0.7 * CANVAS))
            for copy in range(copies):
                chance = random.Random(f"{ord(letter)}/{path.name}/{copy}") if distorted else None
                made[row, copy, style] = small(canvas, affine(chance, fits))
    return made.reshape(len(text), copies * len(files), SIZE, SIZE)


def affine(chance: random.Random | None, fits: float) -> tuple[float, ...]:
    """Where on the canvas a pixel of the enlarged drawing comes from: x = a i + b j + c, y = d i + e j + f.

    Rotated, sheared, scaled and moved by `chance`, not at all without it; `fits` makes a letter smaller.
    """
    step = fits * CANVAS / (SIZE * SMOOTH) * 0.75
    turn = shear = right = down = 0.0
    wide = high = 1.0
    if chance is not None:
        turn = math.radians(chance.uniform(-TURN, TURN))
        shear = chance.uniform(-SHEAR, SHEAR)
        wide, high = chance.uniform(*SCALE), chance.uniform(*SCALE)
        right, down = (SMOOTH * chance.uniform(-MOVE, MOVE) for _ in range(2))
    a, b = math.cos(turn) * step / wide, (shear * math.cos(turn) - math.sin(turn)) * step / high
    d, e = math.sin(turn) * step / wide, (shear * math.sin(turn) + math.cos(turn)) * step / high
    middle = SIZE * SMOOTH / 2
    i, j = middle + right, middle + down
    return a, b, CANVAS / 2 - a * i - b * j, d, e, CANVAS / 2 - d * i - e * j


def small(canvas: Image.Image, coefficients: tuple[float, ...]) -> np.ndarray:
    """The canvas through an affine map, averaged down to uint8 (28, 28)."""
    large = canvas.transform(
        (SIZE * SMOOTH, SIZE * SMOOTH), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(large.reduce(SMOOTH))
