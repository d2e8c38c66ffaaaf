"""The figure: how long an update takes, by contender, a panel a workload, beside the floor."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.table import groups

COLUMNS = 3
FAMILIES = ("metabench", "learn2learn", "PyTorch", "torch.func", "parallel-metalearn", "JAX")
"""First words of the contenders' names; each has a colour."""


def draw(table: pd.DataFrame, path: Path) -> None:
    """Write the figure as SVG: medians as points, quartiles as bars, milliseconds on a logarithmic axis."""
    parts = groups(table[table["repeats"] > 0])
    if not parts:
        return
    palette = dict(zip(FAMILIES, sns.color_palette("colorblind").as_hex()))
    sns.set_theme(context="paper", style="whitegrid", rc={"svg.hashsalt": "bench", "svg.fonttype": "path"})
    names = list(dict.fromkeys(table["contender"][table["repeats"] > 0]))
    lines = math.ceil(len(parts) / COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, lines * (0.8 + 0.17 * len(names))), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False, sharey=True).ravel()
    for axes, rows in zip(panels, parts):
        panel(axes, rows, names, palette)
    for axes in panels[len(parts) :]:
        axes.remove()
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def panel(axes: Axes, rows: pd.DataFrame, names: list[str], palette: dict[str, str]) -> None:
    """One workload."""
    for row in rows.to_dict("records"):
        colour = palette[next(family for family in FAMILIES if row["contender"].startswith(family))]
        place = names.index(row["contender"])
        axes.plot([row["update_ms_q1"], row["update_ms_q3"]], [place, place], color=colour, linewidth=3, alpha=0.5)
        axes.plot(row["update_ms"], place, "o", color=colour, markersize=5)
    axes.axvline(rows["floor_ms"].min(), color="#262626", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{rows['workload'].iloc[0]}, {rows['algorithm'].iloc[0]}", fontsize=9)
    axes.set_xlabel("update, ms (log scale; dashed: floor)", fontsize=8)
    sns.despine(ax=axes)
