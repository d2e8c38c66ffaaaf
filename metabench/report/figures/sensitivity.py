"""The figure of sweeps: the score against each swept parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from metabench.report import formatting
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import text
from metabench.report.collect.sweeps import best_point, values
from metabench.report.figures import style
from metabench.report.figures.scores import Drawn, Kind, band, line, name, second
from metabench.report.figures.style import Look

DECADES = 8.0
"""How many times the largest value is the smallest one for an axis to be logarithmic."""
COLUMNS = 2


def sensitivity(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """A panel for each parameter, a line for each algorithm that was swept over it, a ring at what was chosen."""
    by_parameter = grouped((parameter, group) for group in groups for parameter in group.swept)
    profiles = {
        parameter: shown
        for parameter, members in by_parameter.items()
        if (shown := [(group, points) for group in members if len(points := profile(group, parameter)) > 1])
    }
    if not profiles:
        return None
    rows, columns = math.ceil(len(profiles) / COLUMNS), min(COLUMNS, len(profiles))
    figure, panels = style.panels(rows, columns, 2.7 * rows)
    words, means = [], []
    for axes, (parameter, shown) in zip(panels.flat, profiles.items()):
        places = places_of(axes, [value for _, points in shown for value in points])
        axes.set_xlabel(parameter)
        for group, points in shown:
            label = group.records[0].trial.algorithm + name(group, groups).removeprefix(group.algorithm)
            scores = {text(value): point.score() for value, point in points.items()}
            at, middle = np.array([places[value] for value in scores]), np.array([s.mean for s in scores.values()])
            look, chosen = looks[group.algorithm], text(values(group, [parameter])[parameter])
            low, high = ([getattr(score, end) for score in scores.values()] for end in ("low", "high"))
            band(axes, at, low, high, look, seeds=min(score.seeds for score in scores.values()))
            line(axes, at, middle, look, label, dashed=second(group, groups))
            ring = {"facecolors": "none", "edgecolors": look.color, "gid": look.gid}
            axes.scatter([places[chosen]], [scores[chosen].mean], s=70, **ring)
            means += list(middle)
            told = (f"{each} {formatting.with_interval(s.mean, s.half, group.metric)}" for each, s in scores.items())
            words.append(f"{label} by {parameter}: {', '.join(told)}")
    for axes in panels.flat[len(profiles) :]:
        axes.set_visible(False)
    for axes in panels.flat[: len(profiles)]:
        style.scale("y", axes, means, groups[0])
    style.legend(figure, panels.flat[0])
    return figure, "; ".join(words)


def profile(group: Configuration, parameter: str) -> dict[Any, Configuration]:
    """By value of a parameter, in order: of the points that have it the best on the validation tasks."""
    scored = [point for point in group.points if point.steps]
    by_value = grouped((values(point, [parameter])[parameter], point) for point in scored)
    best = {value: best_point(points) for value, points in by_value.items()}
    known = {value: point for value, point in best.items() if point is not None}
    return dict(
        sorted(known.items(), key=lambda item: (not is_number(item[0]), item[0] if is_number(item[0]) else 0))
    )


def is_number(value: Any) -> bool:
    """A number, and no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def places_of(axes: Axes, found: Sequence[Any]) -> dict[str, float]:
    """Where each value stands on an axis, which is made for them: numbers, on a logarithm if they span much; else a
    row of names."""
    unique = {text(value): value for value in found}
    if not all(map(is_number, unique.values())):
        axes.set_xticks(range(len(unique)), list(unique))
        return {name: float(place) for place, name in enumerate(unique)}
    numbers = sorted(unique.values())
    if numbers[0] > 0 and numbers[-1] >= DECADES * numbers[0]:
        style.log("x", axes)
    if len(numbers) <= 6:
        axes.set_xticks(numbers, [f"{number:g}" for number in numbers], fontsize=style.SMALL)
        axes.set_xticks([], minor=True)
    return {name: float(value) for name, value in unique.items()}


KINDS = (
    Kind("2 Training and adaptation", "sensitivity", "Sensitivity", sensitivity,
         "Test score against a swept parameter, others at their best on validation tasks; ring: what validation "
         "chose."),
)  # fmt: skip
