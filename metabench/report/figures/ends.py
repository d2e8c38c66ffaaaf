"""Ends of lines and of intervals: a line's name beside it, an interval within what its metric can be."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import style
from metabench.report.statistics.aggregates import perfect
from metabench.report.statistics.intervals import Interval


def label_ends(figure: Figure, axes: Axes) -> None:
    """The name of each line at its right end, in its color, apart from the others; of pale ones if all have room."""
    handles, names = axes.get_legend_handles_labels()
    ends = {}
    for handle, name in zip(handles, names):
        if not isinstance(handle, Line2D):
            continue
        (x, y), right = np.asarray(handle.get_data(), dtype=float), axes.get_xlim()[1]
        value = y[-1] if len(x) < 2 or abs(x[-1] - right) <= abs(x[0] - right) else y[0]
        place = axes.transAxes.inverted().transform(axes.transData.transform((right, value)))[1]
        if math.isfinite(place):
            ends[name] = (min(max(float(place), 0.0), 1.0), handle)
    line = style.SMALL * 1.2 / 72 / (0.8 * figure.get_figheight())
    if line * len(ends) > 1:
        ends = {name: (place, handle) for name, (place, handle) in ends.items() if handle.get_alpha() is None}
    order = sorted(ends, key=lambda name: ends[name][0])
    places: list[float] = []
    for name in order:
        places.append(max(ends[name][0], places[-1] + line) if places else ends[name][0])
    for at in reversed(range(len(places))):  # what went over the top comes down again
        places[at] = min(places[at], places[at + 1] - line if at + 1 < len(places) else 1.0)
    for name, place in zip(order, places):
        axes.annotate(
            style.wrap(name, 22), (1.0, place), (5, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", fontsize=style.SMALL - 1, color=ends[name][1].get_color(), gid=ends[name][1].get_gid(),
            annotation_clip=False,
        )  # fmt: skip


def arms(score: Interval, group: Configuration) -> list[list[float]]:
    """How far an interval reaches down and up, within what the metric can be: an error is not below 0."""
    low = 0.0 if perfect(group.metric, higher_is_better=group.higher_is_better) is not None else -math.inf
    high = 1.0 if formatting.is_share(group.metric) else math.inf
    if not formatting.known(score.half):
        return [[0.0], [0.0]]
    return [[max(score.mean - max(score.low, low), 0.0)], [max(min(score.high, high) - score.mean, 0.0)]]
