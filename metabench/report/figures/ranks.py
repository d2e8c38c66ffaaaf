"""Figures that tell algorithms apart: performance profiles, average ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from metabench.report import formatting
from metabench.report.analysis import ranks
from metabench.report.analysis.pairs import all_pairs
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import grid, style
from metabench.report.figures import scores as figures
from metabench.report.figures.pairs import ROW, contests, title
from metabench.report.figures.scores import Drawn, Kind
from metabench.report.figures.style import Look
from metabench.report.statistics import aggregates
from metabench.report.statistics.comparisons import Ranking
from metabench.report.statistics.intervals import stack

BAR = 0.035
"""Between two bars, in units of the axis a rank."""


def profiles(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The share of test tasks (over seeds) that do at least as well as each score."""
    scored = [group for group in groups if group.steps]
    if not scored:
        return None
    figure, axes = style.canvas(3.1)
    cells = [stack(group.final) for group in scored]
    higher, levels = scored[0].higher_is_better, aggregates.thresholds(cells)
    middle = float(np.median(np.concatenate([each.ravel() for each in cells])))
    words = []
    for group, scores in zip(scored, cells):
        found, look = aggregates.profile(scores, levels, higher_is_better=higher), looks[group.algorithm]
        low, high = (np.clip([getattr(each, end) for each in found], 0, 1) for end in ("low", "high"))
        name, dashed = figures.name(group, groups), figures.second(group, groups)
        figures.band(axes, levels, list(low), list(high), look)
        figures.line(axes, levels, np.array([each.mean for each in found]), look, name, dashed=dashed)
        (there,) = aggregates.profile(scores, np.array([middle]), higher_is_better=higher)
        words.append(f"{name} {100 * there.mean:.0f}%")
    axes.set_ylabel("share of tasks that reach it")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    style.scale("x", axes, levels, scored[0])
    if len(levels) > 1:
        axes.set_xlim(float(levels[0]), float(levels[-1]))
    if not higher:
        axes.invert_xaxis()
    style.legend(figure, axes)
    return figure, f"tasks that reach {formatting.score(middle, scored[0].metric)}: {'; '.join(words)}"


def critical(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Average ranks over test tasks; a bar joins those of which no two are told apart."""
    several = contests(groups)
    if not several:
        return None
    heights = [0.95 + ROW * len(members) for members in several.values()]
    figure, panels = grid.panels(len(several), 1, sum(heights), heights=heights)
    words = []
    for axes, (arena, members) in zip(panels[:, 0], several.items()):
        ranking = ranks.over_tasks(members)
        joined = ranks.together(ranking.names, all_pairs(members))
        diagram(axes, ranking, joined, looks)
        tasks = formatting.count(ranking.blocks, "test task")
        axes.set_xlabel(f"{title(arena, several)}average rank over {tasks}, 1 is best")
        order = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(ranking.names, ranking.ranks))
        alike = "; ".join(" = ".join(ranking.names[first : last + 1]) for first, last in joined)
        words.append(f"{title(arena, several)}{order}; not told apart: {alike or 'none'}")
    return figure, "; ".join(words)


def diagram(
    axes: Axes, ranking: Ranking, joined: Sequence[tuple[int, int]], looks: Mapping[str, Look]
) -> None:  # fmt: skip
    """A marker a row, the bars at the right, Nemenyi's critical difference on top."""
    for height, (name, mean) in enumerate(zip(ranking.names, ranking.ranks)):
        axes.scatter(mean, height, s=36, color=looks[name].color, marker=looks[name].marker, zorder=3)
    count = len(ranking.names)
    for place, (first, last) in enumerate(joined):
        x = count * (1.12 + BAR * place)
        axes.plot([x, x], [first - 0.3, last + 0.3], color=style.INK, linewidth=3, solid_capstyle="butt")
    start, end = ranking.ranks[0], ranking.ranks[0] + ranking.critical
    axes.plot([start, end], [-0.75, -0.75], color=style.INK, linewidth=1.2, marker="|")
    axes.annotate(
        "Nemenyi’s critical difference", (end, -0.75), xytext=(5, 0), textcoords="offset points", va="center",
        fontsize=7,
    )  # fmt: skip
    grid.name_rows(axes, ranking.names, 30)
    axes.set_ylim(count - 0.4, -1.2)
    axes.set_xlim(0.8, count * (1.14 + BAR * len(joined)))
    axes.set_xticks(range(1, count + 1, math.ceil(count / 10)))


KINDS = (
    Kind("3 Who is better, and how surely", "profiles", "Performance profiles", profiles,
         "The share of test tasks, over all seeds, that reach each score, with its 95% interval. Higher is better "
         "wherever the curves do not cross."),
    Kind("3 Who is better, and how surely", "ranks", "Average ranks", critical,
         "Critical-difference diagram. A thick bar on the right joins algorithms of which no two are told apart by "
         "their paired differences over seeds and tasks (Holm over all pairs). Nemenyi’s critical difference "
         "speaks of these seeds alone."),
)  # fmt: skip
