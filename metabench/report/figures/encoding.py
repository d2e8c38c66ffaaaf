"""A figure as the bytes of a file: the same each time."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image


def fixed(figure: Figure) -> Figure:
    """Laid out once and for all, so that each format need not do it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


FORMATS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""What each says of its making unless it is told not to: a date, a version."""


def encoded(figure: Figure, form: str) -> bytes:
    """A file's content, the same each time: vectors, pixels 200 to the inch, or for a paper with TrueType letters.

    Pixels are of 256 colors, which a figure hardly exceeds: two fifths of the size.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=FORMATS[form])
    if form != "png":
        return buffer.getvalue()
    small = io.BytesIO()
    with Image.open(buffer) as image:
        palette = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        palette.save(small, "PNG", optimize=True, dpi=image.info["dpi"])
    return small.getvalue()


def drawing(figure: Figure) -> bytes:
    """SVG for a page: text as text, to be found, copied and read by whoever looks at it."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        return encoded(figure, "svg")
