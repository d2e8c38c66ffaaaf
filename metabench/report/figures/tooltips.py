"""Which marks of a figure are whose, and the value of each: what the page's legend and tooltips go by.

A mark is known by its algorithm's color, which no other algorithm has (style.looks), so a figure need not
do anything to be interactive but draw in these colors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter

from metabench.report.figures import style
from metabench.report.figures.style import Look

Titles = dict[str, list[str]]
"""By id of a mark: a name for the whole, then one for each of its points, if they are known one by one."""


MAX_NAMED = 120
"""Points in a figure above which each says its values alone, without the names of the axes."""


def tag(figure: Figure, looks: Mapping[str, Look]) -> Titles:
    """Give each algorithm's marks ids of the form `mark-ALGORITHM-NUMBER`; what they show, by id."""
    owners = {look.color: (index, name) for index, (name, look) in enumerate(looks.items())}
    owned = [
        (axes, artist, owner)
        for axes in figure.axes
        for artist in (*axes.lines, *axes.collections, *axes.patches, *axes.texts)
        if (owner := owners.get(color(artist)))
    ]
    named = sum(len(places(artist)) for _, artist, _ in owned) <= MAX_NAMED
    titles: Titles = {}
    for axes, artist, (number, name) in owned:
        gid = f"mark-{number}-{len(titles)}"
        artist.set_gid(gid)
        titles[gid] = [name, *(described(axes, place, named) for place in places(artist))]
    for legend in (*figure.legends, *(each for axes in figure.axes if (each := axes.get_legend()))):
        for handle, text in zip(legend.legend_handles, legend.get_texts()):
            if handle and (owner := owners.get(color(handle))):
                for artist in (handle, text):
                    gid = f"mark-{owner[0]}-{len(titles)}"
                    artist.set_gid(gid)
                    titles[gid] = [owner[1]]
    return titles


def color(artist: Any) -> str:
    """The one color it has, without its opacity; "" where it has several."""
    if isinstance(artist, Line2D | Text):
        return to_hex(artist.get_color())
    if isinstance(artist, Patch):
        return to_hex(artist.get_facecolor())
    if not isinstance(artist, Collection) or artist.get_array() is not None:
        return ""
    faces: Any = artist.get_facecolor()
    edges: Any = artist.get_edgecolor()
    colors = {to_hex(rgba) for rgba in (faces if len(faces) else edges)}
    return colors.pop() if len(colors) == 1 else ""


def places(artist: Artist) -> np.ndarray:
    """Where its markers are, [points, 2] in the units of the axes."""
    points: Any = []
    if isinstance(artist, PathCollection):
        points = artist.get_offsets()
    elif isinstance(artist, Line2D) and artist.get_marker() not in (None, "None", "", " "):
        every = artist.get_markevery()
        if every is None or isinstance(every, int):
            points = np.asarray(artist.get_xydata())[:: every or 1]
    return np.asarray(points, dtype=float).reshape(-1, 2)


def described(axes: Axes, place: np.ndarray, named: bool) -> str:
    """`meta-updates 300, validation accuracy 61.20%`, or `300, 61.20%`."""
    return ", ".join(filter(None, (reading(axes.xaxis, place[0], named), reading(axes.yaxis, place[1], named))))


def is_number(text: str) -> bool:
    """Whether a tick's text is a number as axes write it."""
    return text.strip("−%").replace(",", "").replace(".", "").isdigit()


def reading(axis: Any, value: float, named: bool) -> str:
    """A value as its axis would write it; nothing on an axis of names."""
    formatter = axis.get_major_formatter()
    ticks = axis.get_majorticklocs() if isinstance(axis.get_major_locator(), FixedLocator) else []
    names = {at: text for at, text in zip(ticks, formatter.format_ticks(ticks)) if not is_number(text)}
    if names and len(names) == len(ticks):
        return ""
    share = isinstance(formatter, FuncFormatter) and formatter.func is style.percent
    name = f"{axis.get_label_text().partition(chr(10))[0]} " if named else ""
    if value in names:  # such as "never" behind the numbers
        return f"{name}{names[value]}"
    return f"{name}{100 * value:.2f}%" if share else f"{name}{value:,.4g}"
