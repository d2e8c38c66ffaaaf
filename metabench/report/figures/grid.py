"""Small multiples: several pairs of axes in one figure, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from metabench.report.figures import style

Sharing = Literal["none", "all", "row", "col"]
SMALL = 8
"""Size of the letters of a panel's title."""


def panels(
    rows: int, columns: int, height: float, *, share_x: Sharing = "none", share_y: Sharing = "none",
    heights: Sequence[float] | None = None,
) -> tuple[Figure, Any]:  # fmt: skip
    """An empty figure of `height` inches, and its axes [rows, columns]; `heights` of rows that differ."""
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y, height_ratios=heights)
    for each in axes.flat:
        sns.despine(ax=each)
    return figure, axes


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=SMALL)


def name_rows(axes: Axes, names: Sequence[str], width: int = 24) -> None:
    """A row for each name, from the top down, without lines between them."""
    axes.set_yticks(range(len(names)), [style.wrap(name, width) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def fewer_powers(axes: Axes, extremes: Sequence[float]) -> None:
    """Logarithmic axes of a small panel: powers of ten only, if there are two of them to show."""
    if max(extremes) > 20 * min(extremes):
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator())


def thinned(count: int, most: int) -> np.ndarray:
    """At most so many of the indices below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
