"""One look for every figure, for files and for a page that may be dark."""

from __future__ import annotations

import hashlib
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration

INK, GRID, PAPER = "#262626", "#dedede", "#ffffff"
COLORS = (
    "#949494", "#ca9161", "#a03b6d", "#0173b2", "#d55e00", "#75751f", "#56b4e9", "#de8f05", "#029e73", "#cc78bc",
)  # fmt: skip
"""Seaborn's for the color-blind, and olive and wine in place of two that are lost on white paper."""
MARKERS, SIGNS = "osD^vPX<>*", "●■◆▲▼✚✖◀▶★"
MARK = "mark-"
"""What the gid of an algorithm's mark begins with."""
SALT = 8838421
"""With it no two algorithms share a color in what is committed, those of the quick run are far from each other and
none of them grey, and no two of ours have both color and marker alike."""
MAX_STRONG, FIRST = 8, 5
"""Algorithms up to which all are drawn strong; how many of the best are beyond that."""


class Dress(NamedTuple):
    """What is not alike in all reports."""

    font: str
    width: float
    """Inches."""


STYLES = {"sans": Dress("DejaVu Sans", 4.8), "serif": Dress("DejaVu Serif", 3.4)}
"""The page's, small, so that a phone shows it without shrinking the letters; and a paper's, as wide as a column."""

LINE = 0.17
"""Inches a line of the legend takes."""
SMALL = 8
"""Size of the letters of a panel's title."""
Sharing = Literal["none", "all", "row", "col"]

LOOK = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK),
    "grid.color": GRID,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Look:
    """How one algorithm is drawn, in every figure alike; the marker is for those who see no color."""

    color: str
    marker: str
    number: int = 0
    """Its algorithm's, on the page: whatever is drawn of it belongs to it by this number."""
    pale: bool = False
    """Whether others stand out, and this one is a thin line."""

    @property
    def gid(self) -> str:
        """What matplotlib is told of its marks, and writes into an SVG file."""
        return f"{MARK}{self.number}"

    @property
    def ink(self) -> dict[str, Any]:
        """Arguments for whatever is drawn of it: its color, and that it is its."""
        return {"color": self.color, "gid": self.gid}

    @property
    def sign(self) -> str:
        """Its marker as a letter."""
        return SIGNS[MARKERS.index(self.marker)]


def looks(algorithms: Iterable[str]) -> dict[str, Look]:
    """A look for each label: by its name alone, so the same in every report, in ten colors that the color-blind see.

    Configurations of one algorithm share its color and differ by their markers.
    """
    found: dict[str, Look] = {}
    for number, name in enumerate(sorted(set(algorithms))):
        hue, marker, *_ = hashlib.sha256(f"{SALT} {name.partition(' (')[0]}".encode()).digest()
        color = COLORS[hue % len(COLORS)]
        taken = [look.marker for look in found.values() if look.color == color]
        markers = [MARKERS[(marker + step) % len(MARKERS)] for step in range(len(MARKERS))]
        found[name] = Look(color, next((each for each in markers if each not in taken), markers[0]), number)
    return found


def strong(groups: Sequence[Configuration]) -> set[str]:
    """Which algorithms stand out: all up to MAX_STRONG, else the first and what is not trained."""
    names = list(dict.fromkeys(group.algorithm for group in groups))
    untrained = {group.algorithm for group in groups if not group.trained}
    return set(names) if len(names) <= MAX_STRONG else {*names[:FIRST], *untrained}


@contextmanager
def drawing(salt: str, dress: Dress = STYLES["sans"]) -> Iterator[None]:
    """Matplotlib's settings for one figure, and the caller's own again afterwards."""
    own = {"svg.hashsalt": salt, "font.family": dress.font, "figure.figsize": (dress.width, 3.0)}
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        sns.set_theme(context="paper", style="whitegrid", rc=LOOK | own)
        yield


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty figure of `height` inches with one pair of axes."""
    figure, axes = panels(1, 1, height)
    return figure, axes[0, 0]


def panels(
    rows: int, columns: int, height: float, *, share_x: Sharing = "none", share_y: Sharing = "none",
    heights: Sequence[float] | None = None,
) -> tuple[Figure, Any]:  # fmt: skip
    """An empty figure of `height` inches, and its axes [rows, columns]; `heights` of rows that differ."""
    figure = Figure(figsize=(mpl.rcParams["figure.figsize"][0], height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y, height_ratios=heights)
    for panel in axes.flat:
        sns.despine(ax=panel)
    return figure, axes


def title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=SMALL)


def name_rows(axes: Axes, names: Sequence[str], width: int = 24) -> None:
    """A row for each name, from the top down, without lines between them."""
    axes.set_yticks(range(len(names)), [wrap(name, width) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def fewer_powers(axes: Axes, extremes: Sequence[float]) -> None:
    """Logarithmic axes of a small panel: powers of ten only, if there are two of them to show."""
    if max(extremes) > 20 * min(extremes):
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator())


def legend(figure: Figure, axes: Axes) -> None:
    """Below the axes, each name once, with what is drawn as its own; the figure grows by what it takes."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles))
    if unique:
        columns = max(1, min(4, fit(68) // (max(map(len, unique)) + 7)))
        wrapped = [wrap(name, fit(64)) for name in unique]
        lines = math.ceil(len(wrapped) / columns) + sum(name.count("\n") for name in wrapped)
        figure.set_figheight(figure.get_figheight() + LINE * (lines - 1))
        shown = figure.legend(unique.values(), wrapped, loc="outside lower center", ncols=columns)
        for handle, *copies in zip(unique.values(), shown.legend_handles, shown.get_texts()):
            owner = next(iter(handle.get_children()), handle)  # of an interval, its marker
            for copy in filter(None, copies):
                copy.set_gid(owner.get_gid())


def fit(width: int) -> int:
    """As many letters as fit where the page's figures have room for `width`."""
    inches: float = mpl.rcParams["figure.figsize"][0]
    return round(width * inches / STYLES["sans"].width)


def wrap(name: str, width: int) -> str:
    """A long label on at most three lines."""
    return "\n".join(textwrap.wrap(name, width, max_lines=3, placeholder=" …")) or name


def scale(axis: str, axes: Axes, values: Iterable[float], group: Configuration, *, prefix: str = "") -> None:
    """Name the metric on an axis ("x" or "y"): a percentage, or a logarithm for errors that differ much."""
    name, lower = prefix + (group.metric or "score"), not group.higher_is_better
    known = [value for value in values if formatting.known(value)]
    logarithmic = lower and bool(known) and min(known) > 0 and max(known) > 5 * min(known)
    notes = (["lower is better"] if lower else []) + (["log scale"] if logarithmic else [])
    getattr(axes, f"set_{axis}label")(f"{name}\n({', '.join(notes)})" if notes else name)
    target = axes.xaxis if axis == "x" else axes.yaxis
    if logarithmic:
        log(axis, axes)
        getattr(axes, f"set_{axis}lim")(min(known) / 2, max(known) * 2)
    elif formatting.is_share(group.metric):
        target.set_major_formatter(FuncFormatter(percent))


def log(axis: str, axes: Axes) -> None:
    """An axis ("x" or "y") on a logarithmic scale, its ticks plain numbers: matplotlib's own are formulas."""
    getattr(axes, f"set_{axis}scale")("log", nonpositive="clip")
    low, high = getattr(axes, f"get_{axis}lim")()
    target = axes.xaxis if axis == "x" else axes.yaxis
    target.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    target.set_minor_formatter(NullFormatter())


def percent(value: float, _: int | None = None) -> str:
    """A share on an axis."""
    return f"{100 * value:.6g}%"


def points(value: float, _: int | None = None) -> str:
    """A difference of shares on an axis."""
    return formatting.minus(f"{100 * value:.4g}")


HUNDREDTHS: dict[Callable[..., str], str] = {percent: "%", points: ""}
"""Who writes them, and the sign for them."""


def thinned(count: int, most: int) -> np.ndarray:
    """At most so many of the indices below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
