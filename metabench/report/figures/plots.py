"""Figures of plugins: data, drawn as our own are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from metabench.errors import one_line
from metabench.records.plots import Axis, Plot, Series, SuiteScores
from metabench.registry.figures import registered_figures
from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.figures import ends, style
from metabench.report.figures.scores import MIN_SEEDS, Drawn, Kind, band, line, strokes
from metabench.report.figures.style import Look

SECTION = "7 Figures of plugins"


def plugin_kinds() -> list[Kind]:
    """A kind for each figure that a plugin registers: its caption is its factory's description."""
    return [
        Kind(SECTION, f"plugin-{name}", name.replace("-", " ").capitalize(), partial(attempted, name, entry.factory),
             entry.description.partition("\n")[0])
        for name, entry in sorted(registered_figures().items())
    ]  # fmt: skip


def attempted(
    name: str,
    make: Callable[[SuiteScores], Plot | None],
    groups: Sequence[Configuration],
    looks: Mapping[str, Look],
) -> Drawn | None:
    """The figure; without it, and with a warning, where a stranger's code fails."""
    try:
        plot = make(scores_of(groups))
        return drawn(plot, looks) if plot and plot.series else None
    except Exception as error:
        warnings.warn(f"Figure '{name}' is left out on {groups[0].suite}: {one_line(error)}", stacklevel=2)
        return None


def scores_of(groups: Sequence[Configuration]) -> SuiteScores:
    """The configurations of one suite, best first, as tables."""
    tasks = [
        pd.DataFrame({"algorithm": group.algorithm, "protocol": group.protocol, "seed": seed, "step": step,
                      "task": range(scores.shape[1]), "score": scores[step]})
        for group in groups for seed, scores in group.steps.items() for step in range(len(scores))
    ]  # fmt: skip
    curves = [
        (group.algorithm, record.trial.seed, point.update, point.train_seconds, point.score)
        for group in first_of_each(groups) for record in group.scored_records for point in record.curve
    ]  # fmt: skip
    return SuiteScores(
        groups[0].suite, groups[0].metric, groups[0].higher_is_better,
        tuple(dict.fromkeys(group.algorithm for group in groups)),
        pd.concat(tasks, ignore_index=True),
        pd.DataFrame(curves, columns=["algorithm", "seed", "update", "train_seconds", "score"]),
    )  # fmt: skip


def drawn(plot: Plot, looks: Mapping[str, Look]) -> Drawn:
    """The figure, and its words."""
    figure, axes = style.canvas(3.1)
    for series in plot.series:
        look, label = looks[series.algorithm], series.label or series.algorithm
        x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
        if plot.kind == "lines":
            if len(series.low):
                band(axes, x, series.low, series.high, look, seeds=MIN_SEEDS)
            line(axes, x, y, look, label, dashed=False)
        else:
            arms = [y - np.asarray(series.low), np.asarray(series.high) - y] if len(series.low) else None
            axes.errorbar(x, y, yerr=arms, capsize=2, markersize=6, linestyle="", label=label, **strokes(look))
    for side, axis in (("x", plot.x), ("y", plot.y)):
        named(side, axes, axis)
    if plot.kind == "lines":
        ends.label_ends(figure, axes)
    else:
        style.legend(figure, axes)
    return figure, plot.words or "; ".join(map(told, plot.series))


def named(side: str, axes: Axes, axis: Axis) -> None:
    """One axis."""
    getattr(axes, f"set_{side}label")(style.wrap(axis.label, style.fit(60)))
    if axis.log:
        style.log(side, axes)
    if axis.share:
        (axes.xaxis if side == "x" else axes.yaxis).set_major_formatter(FuncFormatter(style.percent))


def told(series: Series) -> str:
    """`NAME 0.31`, `NAME from 0.2 to 0.31`."""
    first, last = (f"{series.y[place]:.4g}" for place in (0, -1))
    name = series.label or series.algorithm
    return f"{name} from {first} to {last}" if len(series.y) > 1 else f"{name} {last}"
