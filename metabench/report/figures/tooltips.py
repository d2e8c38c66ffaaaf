"""Which marks of a figure are whose, and the value of each: what the page's legend and tooltips go by.

A mark is known by the gid that it is drawn with (style.Look.ink): a figure need do no more to be interactive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from metabench.report.figures import style
from metabench.report.formatting import minus

Titles = dict[str, list[str]]
"""By id of a mark: a name for the whole, then one for each of its points, if they are known one by one."""


MAX_NAMED = 60
"""Points in a figure above which each says its values alone, without the names of the axes."""


def tag(figure: Figure, names: Sequence[str]) -> Titles:
    """Give each algorithm's marks ids of the form `mark-ALGORITHM-NUMBER`; what they show, by id. `names` are by
    the algorithms' numbers."""
    marks = figure.findobj(lambda artist: str(artist.get_gid()).startswith(style.MARK))
    named = sum(len(places(mark)) for mark in marks) <= MAX_NAMED
    titles: Titles = {}
    for mark in marks:
        owner = str(mark.get_gid())
        gid = f"{owner}-{len(titles)}"
        mark.set_gid(gid)
        values = [described(mark.axes, place, named) for place in places(mark)]
        titles[gid] = [names[int(owner.removeprefix(style.MARK))], *values]
    return titles


def places(artist: Artist) -> np.ndarray:
    """Where its markers are, [points, 2] in the units of the axes; of a legend's nowhere."""
    points: Any = []
    if artist.axes is None:
        pass
    elif isinstance(artist, PathCollection):
        points = artist.get_offsets()
    elif isinstance(artist, Line2D) and artist.get_marker() not in (None, "None", "", " "):
        every = artist.get_markevery()
        if every is None or isinstance(every, int):
            points = np.asarray(artist.get_xydata())[:: every or 1]
    return np.asarray(points, dtype=float).reshape(-1, 2)


def described(axes: Any, place: np.ndarray, named: bool) -> str:
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
    sign = style.HUNDREDTHS.get(formatter.func) if isinstance(formatter, FuncFormatter) else None
    name = f"{axis.get_label_text().partition(chr(10))[0]} " if named else ""
    if value in names:  # such as "never" behind the numbers
        return f"{name}{names[value]}"
    return name + minus(f"{value:,.4g}" if sign is None else f"{100 * value:.2f}{sign}")
