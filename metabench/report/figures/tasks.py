"""Figures of single tasks: how their scores are distributed, which are hard for whom, both protocols side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from metabench.report import formatting
from metabench.report.analysis.pairs import contests
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import ends, style
from metabench.report.figures.scores import Drawn, Kind, listed, name, second, strokes
from metabench.report.figures.style import Look
from metabench.report.statistics.intervals import Array, difference, stack

RIVALS = 4
"""Algorithms that the best is set against, task by task."""
POINTS = 120
"""Tasks that a panel shows."""
QUARTERS = (0.25, 0.5, 0.75)


def per_task(group: Configuration) -> Array:
    """The final score of each test task, the mean over seeds."""
    means: Array = stack(group.final).mean(0)
    return means


def distribution(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn:
    """A violin for each algorithm, over the test tasks, with its quartiles."""
    figure, axes = style.canvas(max(1.9, 0.9 + 0.42 * len(groups)))
    names = [name(group, groups) for group in groups]
    values = [per_task(group) for group in groups]
    pooled = np.concatenate(values)
    style.scale("x", axes, [float(value) for value in np.quantile(pooled, [0.01, 0.99])], groups[0])
    positive = axes.get_xscale() == "log"
    for height, (group, scores) in enumerate(zip(groups, values)):
        shown = scores[scores > 0] if positive else scores
        violin(axes, height, shown, looks[group.algorithm], opened=second(group, groups))
    if positive:
        low, high = np.quantile(pooled[pooled > 0], [0.005, 0.995])
        axes.set_xlim(low / 1.5, high * 1.5)
    style.name_rows(axes, names)
    axes.set_ylabel("")
    words = []
    for label, group, scores in zip(names, groups, values):
        low, middle, high = (formatting.score(float(q), group.metric) for q in np.quantile(scores, QUARTERS))
        words.append(f"{label} median {middle}, half of the tasks from {low} to {high}")
    return figure, "; ".join(words)


def violin(axes: Axes, height: int, scores: Array, look: Look, *, opened: bool) -> None:
    """One, by seaborn, smoothed on the axis's scale; its quartiles as a bar and a dot, which are not smoothed."""
    if len(scores) > 1 and scores.std() > 1e-9 * (1 + abs(scores.mean())):
        frame = pd.DataFrame({"score": scores, "row": height})
        sns.violinplot(
            frame, x="score", y="row", ax=axes, orient="h", native_scale=True, cut=0, inner=None, width=0.75,
            **look.ink, saturation=1, linewidth=0.8, linecolor=look.color, gridsize=50,
            fill=not opened, alpha=None if opened else 0.45,
        )  # fmt: skip
    low, middle, high = np.quantile(scores, QUARTERS) if len(scores) else (math.nan,) * 3
    axes.plot([low, high], [height, height], **look.ink, linewidth=2.4, solid_capstyle="butt")
    axes.plot([middle], [height], **look.ink, marker="o", markersize=5, markerfacecolor=style.PAPER)


def pairs(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The best algorithm against the next ones, a panel each, a dot for each test task."""
    first = next(iter(contests(groups).values()), None)
    if first is None:
        return None
    best, *rivals = first[: RIVALS + 1]
    columns = min(2, len(rivals))
    count = math.ceil(len(rivals) / columns)
    figure, panels = style.panels(count, columns, 2.35 * count, share_x="all", share_y="all")
    words, shown = [], []
    for axes, rival in zip(panels.flat, rivals):
        mine, others = common(best, rival)
        chosen = style.thinned(len(mine), POINTS)
        look = looks[rival.algorithm]
        dots = {**look.ink, "marker": look.marker, "alpha": 0.45, "linewidths": 0}
        axes.scatter(others[chosen], mine[chosen], s=9, **dots)
        shown += [*mine[chosen], *others[chosen]]
        words.append(compared(best, rival, mine, others))
    extremes = [float(value) for value in np.quantile(shown, [0.02, 0.98])]
    for axes, rival in zip(panels.flat, rivals):
        style.scale("x", axes, extremes, best)
        style.scale("y", axes, extremes, best)
        figure.supxlabel(axes.get_xlabel().replace("\n", " "), fontsize=9)
        axes.set_xlabel(style.wrap(rival.algorithm, 26))
        axes.set_ylabel(style.wrap(best.algorithm, 26) if axes in panels[:, 0] else "")
        axes.axline((0.5, 0.5), (0.6, 0.6), color=style.INK, linewidth=0.7, dashes=(4, 3))
        axes.tick_params(labelleft=axes in panels[:, 0], labelbottom=True)
        if axes.get_xscale() == "log":
            style.fewer_powers(axes, extremes)
        else:
            margin = 0.04 * (max(shown) - min(shown)) or 0.01
            axes.set_xlim(min(shown) - margin, max(shown) + margin)
            axes.set_ylim(min(shown) - margin, max(shown) + margin)
    for axes in panels.flat[len(rivals) :]:
        axes.set_axis_off()
    return figure, "; ".join(words)


def common(a: Configuration, b: Configuration) -> tuple[Array, Array]:
    """The scores of two on the tasks of both: means over the seeds of both, or of each where there is none."""
    seeds = a.final.keys() & b.final.keys()
    tasks = min(len(values) for values in (*a.final.values(), *b.final.values()))
    one, other = (stack({s: v for s, v in group.final.items() if not seeds or s in seeds}, tasks) for group in (a, b))
    return one.mean(0), other.mean(0)


def compared(best: Configuration, rival: Configuration, mine: Array, others: Array) -> str:
    """Over all tasks, not only those that are drawn."""
    better = (mine > others if best.higher_is_better else mine < others).mean()
    related = ""
    if len(mine) > 2 and mine.std() > 0 and others.std() > 0:
        related = formatting.minus(f", correlation {np.corrcoef(mine, others)[0, 1]:.2f}")
    return f"{best.algorithm} scores better than {rival.algorithm} on {better:.0%} of {len(mine):,} tasks{related}"


def protocols(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Transductive beside inductive, joined, for each algorithm that was tested under both."""
    both = {label: pair for label, pair in grouped((g.algorithm, g) for g in groups).items() if len(pair) > 1}
    if not both:
        return None
    figure, axes = style.canvas(max(1.8, 0.9 + 0.36 * len(both)))
    words, means = [], []
    for height, (label, (transductive, inductive)) in enumerate(both.items()):
        look, scores = looks[label], (transductive.score(), inductive.score())
        places = (height - 0.13, height + 0.13)
        axes.plot([score.mean for score in scores], places, **look.ink, linewidth=1.0, alpha=0.6)
        for opened, place, score in zip((False, True), places, scores):
            drawn = strokes(look, opened=opened)
            axes.errorbar(score.mean, place, xerr=ends.arms(score, groups[0]), capsize=2, markersize=6, **drawn)
        gap = difference(transductive.final, inductive.final)
        means += [score.mean for score in scores]
        words.append(f"{label} transductive by {formatting.difference(gap.mean, gap.half, transductive.metric)}")
    style.name_rows(axes, list(both))
    style.scale("x", axes, means, groups[0])
    members = [group for pair in both.values() for group in pair]
    return figure, f"{listed(members)}; the difference: {'; '.join(words)}"


KINDS: tuple[Kind, ...] = (
    Kind("5 Single tasks", "distribution", "Scores of single tasks", distribution,
         "How the test tasks are distributed over their scores (means over seeds), smoothed; a bar over the "
         "middle half, a dot at the median."),
    Kind("5 Single tasks", "pairs", "Which tasks are hard for whom", pairs,
         "The best algorithm against the next ones: a dot per test task (mean over seeds). On the dashed line both "
         "score the same."),
    Kind("5 Single tasks", "protocols", "Transductive beside inductive", protocols,
         "The same adapted models, predicting a whole query set at once (filled) and each query point alone (open)."),
)  # fmt: skip
