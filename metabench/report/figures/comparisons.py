"""Figures that tell algorithms apart: paired differences, the probability of improvement, profiles, average ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from metabench.report import formatting
from metabench.report.analysis.pairs import all_pairs, contests, over_tasks, to_best, together
from metabench.report.analysis.pairs import improvement as better
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import ends, scores, style
from metabench.report.figures.scores import Drawn, Kind
from metabench.report.figures.style import Look
from metabench.report.statistics import aggregates
from metabench.report.statistics.intervals import Interval, stack
from metabench.report.statistics.simultaneous import corrected

ROW = 0.26
"""Inches a line takes."""
BAR = 0.035
"""Between two bars, in units of the axis a rank."""


def panel_each(
    groups: Sequence[Configuration], room: float, draw: Callable[[Axes, str, Sequence[Configuration]], str]
) -> Drawn | None:
    """A panel for each protocol, None where there is nobody to compare with.

    `draw` gets the axes, the name of the protocol where there are several, and the algorithms, best first; it says
    what it shows. `room` is for the axis, in inches.
    """
    several = contests(groups)
    if not several:
        return None
    heights = [room + ROW * len(members) for members in several.values()]
    figure, panels = style.panels(len(several), 1, sum(heights), heights=heights)
    words = [
        draw(axes, f"{protocol}: " if len(several) > 1 else "", members)
        for axes, ((_, protocol), members) in zip(panels[:, 0], several.items())
    ]
    return figure, "; ".join(words)


class Row(NamedTuple):
    """One algorithm against the best."""

    mean: float
    low: float
    high: float
    separated: bool
    words: str


def differences(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """How far each is behind the best; a filled marker is separated from it."""

    def rows(members: Sequence[Configuration]) -> list[Row]:
        return [
            Row(found.mean, found.low, found.high, found.separated,
                formatting.behind(found.mean, (found.low, found.high), members[0].metric))
            for found in to_best(members)[1:]
        ]  # fmt: skip

    return panel_each(groups, 0.75, partial(forest, looks, rows, 0.0, in_metric))


def improvement(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The probability of doing better than the best on a task."""

    def rows(members: Sequence[Configuration]) -> list[Row | None]:
        found = [chance(group, members[0], len(members) - 1) for group in members[1:]]
        return [None if each is None else likely(each) for each in found]

    return panel_each(groups, 0.75, partial(forest, looks, rows, 0.5, in_percent))


def likely(found: Interval) -> Row:
    """A probability, within what it can be."""
    words = formatting.with_interval(found.mean, found.half, "accuracy")
    return Row(found.mean, max(found.low, 0.0), min(found.high, 1.0), not found.low <= 0.5 <= found.high, words)


def chance(group: Configuration, best: Configuration, family: int) -> Interval | None:
    """The probability of improvement, one of so many that hold at once."""
    found = better(group, best)
    return None if found is None else corrected(found, family)


def in_metric(axes: Axes, best: Configuration) -> str:
    """In points for a share, otherwise in the metric's unit."""
    unit = "" if best.higher_is_better else ", lower is better"
    if formatting.is_share(best.metric):
        axes.xaxis.set_major_formatter(FuncFormatter(style.points))
        unit = f", points{unit}"
    return f"{best.metric} minus that of {best.algorithm}{unit}"


def in_percent(axes: Axes, best: Configuration) -> str:
    """All of what a probability can be."""
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(style.percent))
    return f"probability of doing better than {best.algorithm} on a task"


def forest(
    looks: Mapping[str, Look], rows: Callable[[Sequence[Configuration]], Sequence[Row | None]], nothing: float,
    axis: Callable[[Axes, Configuration], str], axes: Axes, prefix: str, members: Sequence[Configuration],
) -> str:  # fmt: skip
    """A row for each that is not the best; `nothing` is where there is no difference."""
    said = []
    for height, (group, row) in enumerate(zip(members[1:], rows(members))):
        if row is None:
            continue
        strokes = scores.strokes(looks[group.algorithm], opened=not row.separated)
        arms = [[max(row.mean - row.low, 0.0)], [max(row.high - row.mean, 0.0)]]
        axes.errorbar(row.mean, height, xerr=arms, capsize=3, markersize=6, **strokes)
        said.append(f"{group.algorithm} {row.words}{'' if row.separated else ', not separated'}")
    axes.axvline(nothing, color=style.INK, linewidth=0.9, linestyle=":")
    style.name_rows(axes, [group.algorithm for group in members[1:]], 30)
    axes.set_xlabel(style.wrap(prefix + axis(axes, members[0]), style.fit(60)))
    return f"{prefix}against {members[0].algorithm}, {'; '.join(said)}"


def profiles(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn:
    """The share of test tasks (over seeds) that do at least as well as each score."""
    figure, axes = style.canvas(3.1)
    cells = [stack(group.final) for group in groups]
    higher, levels = groups[0].higher_is_better, aggregates.thresholds(cells)
    middle = float(np.median(np.concatenate([values.ravel() for values in cells])))
    words = []
    for group, values in zip(groups, cells):
        shares, look = aggregates.profile(values, levels, higher_is_better=higher), looks[group.algorithm]
        low, high = (np.clip([getattr(share, end) for share in shares], 0, 1) for end in ("low", "high"))
        name, dashed = scores.name(group, groups), scores.second(group, groups)
        scores.band(axes, levels, low, high, look, seeds=len(group.steps))
        scores.line(axes, levels, np.array([share.mean for share in shares]), look, name, dashed=dashed)
        (there,) = aggregates.profile(values, np.array([middle]), higher_is_better=higher)
        words.append(f"{name} {100 * there.mean:.0f}%")
    axes.set_ylabel("share of tasks that reach it")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(style.percent))
    style.scale("x", axes, levels, groups[0])
    if len(levels) > 1:
        axes.set_xlim(float(levels[0]), float(levels[-1]))
    if not higher:
        axes.invert_xaxis()
    ends.label_ends(figure, axes)
    return figure, f"tasks that reach {formatting.score(middle, groups[0].metric)}: {'; '.join(words)}"


def critical(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Average ranks over test tasks; a bar joins those of which no two differ significantly."""
    return panel_each(groups, 0.95, partial(diagram, looks))


def diagram(looks: Mapping[str, Look], axes: Axes, prefix: str, members: Sequence[Configuration]) -> str:
    """A marker a row, the bars at the right, Nemenyi's critical difference on top."""
    ranking = over_tasks(members)
    joined = together(ranking.names, all_pairs(members))
    for height, (name, mean) in enumerate(zip(ranking.names, ranking.ranks)):
        axes.scatter(mean, height, s=36, **looks[name].ink, marker=looks[name].marker, zorder=3)
    count = len(ranking.names)
    for place, (first, last) in enumerate(joined):
        x = count * (1.12 + BAR * place)
        axes.plot([x, x], [first - 0.3, last + 0.3], color=style.INK, linewidth=3, solid_capstyle="butt")
    start, end = ranking.ranks[0], ranking.ranks[0] + ranking.critical
    axes.plot([start, end], [-0.75, -0.75], color=style.INK, linewidth=1.2, marker="|")
    said = "Nemenyi’s critical difference"
    axes.annotate(said, (end, -0.75), (5, 0), textcoords="offset points", va="center", fontsize=7)
    style.name_rows(axes, ranking.names, 30)
    axes.set_ylim(count - 0.4, -1.2)
    axes.set_xlim(0.8, count * (1.14 + BAR * len(joined)))
    axes.set_xticks(range(1, count + 1, math.ceil(count / 10)))
    axes.set_xlabel(f"{prefix}average rank over {formatting.count(ranking.blocks, 'test task')}, 1 is best")
    order = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(ranking.names, ranking.ranks))
    alike = "; ".join(" = ".join(ranking.names[first : last + 1]) for first, last in joined)
    return f"{prefix}{order}; not significantly different: {alike or 'none'}"


KINDS = (
    Kind("1d Scores", "differences", "Difference to the best", differences,
         "Paired difference to the best mean; intervals that hold at once. Open: not separated."),
    Kind("3 Who is better, and how surely", "improvement", "Probability of improvement", improvement,
         "How often each does better on a test task than the one with the best mean; a tie counts half. "
         "Filled: significantly."),
    Kind("3 Who is better, and how surely", "profiles", "Performance profiles", profiles,
         "The share of test tasks, over all seeds, that reach each score, with its 95% interval. Higher is better "
         "wherever the curves do not cross."),
    Kind("3 Who is better, and how surely", "ranks", "Average ranks", critical,
         "A thick bar on the right joins algorithms of which no two differ significantly over seeds and tasks. "
         "Nemenyi’s critical difference speaks of these seeds alone."),
)  # fmt: skip
