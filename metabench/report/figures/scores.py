"""The figures of one suite: scores, learning curves, adaptation, score against training time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration, first_of_each, selected_point
from metabench.report.figures import ends, style
from metabench.report.figures.style import Look

Values = Sequence[float] | np.ndarray
MIN_SEEDS = 3
"""Below this no band is drawn."""
PALE = 0.35
"""Opacity of a line beside which others stand out."""
Drawn = tuple[Figure, str]
"""A figure, and what it shows in words."""


class Kind(NamedTuple):
    """A sort of figure."""

    section: str
    """The number and title of its part of the page."""
    name: str
    title: str
    draw: Callable[[Sequence[Configuration], Mapping[str, Look]], Drawn | None]
    """None where there is nothing of this sort to show. What is drawn with `look.ink` is that algorithm's mark."""
    caption: str
    across: bool = False
    """Whether it is of this suite beside others, and is given the configurations of all."""


def scores(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn:
    """A row per algorithm: the mean with its interval, each seed as a small dot."""
    figure, axes = style.canvas(max(1.8, 0.9 + 0.34 * len(groups)))
    means = []
    for height, group in enumerate(groups):
        score, look = group.score(), looks[group.algorithm]
        seeds = [float(values.mean()) for values in group.final.values()]
        axes.scatter(seeds, [height + 0.24] * len(seeds), s=11, **look.ink, alpha=0.7, linewidths=0)
        drawn = strokes(look, opened=second(group, groups))
        axes.errorbar(score.mean, height, xerr=ends.arms(score, group), capsize=3, markersize=6, **drawn)
        means.append(score.mean)
    style.name_rows(axes, [name(group, groups) for group in groups], 30)
    style.scale("x", axes, means, groups[0])
    return figure, listed(groups)


def adaptation(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn:
    """Test score after 0, 1 ... inner steps, with the interval over seeds and tasks as a band."""
    figure, axes = style.canvas(3.1)
    means, words, longest = [], [], 1
    for group in groups:
        after, look = group.adaptation(), looks[group.algorithm]
        steps, middle = np.arange(len(after)), np.array([score.mean for score in after])
        (down, up) = np.array([ends.arms(score, group) for score in after])[:, :, 0].T
        band(axes, steps, middle - down, middle + up, look, seeds=len(group.steps))
        line(axes, steps, middle, look, name(group, groups), dashed=second(group, groups))
        means += list(middle)
        longest = max(longest, len(after) - 1)
        first, last = (formatting.score(value, group.metric) for value in (middle[0], middle[-1]))
        words.append(f"{name(group, groups)} from {first} before the first to {last} after {len(after) - 1}")
    axes.set_xlabel("inner steps on the support set")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.02 * longest, longest * 1.02)
    style.scale("y", axes, means, groups[0])
    ends.label_ends(figure, axes)
    return figure, "; ".join(words)


def curves(groups: Sequence[Configuration], looks: Mapping[str, Look], *, by_time: bool) -> Drawn:
    """Validation score against updates or seconds of training: the mean over seeds, a band from the lowest to the
    highest; a dashed line at the test score of what has no curve."""
    figure, axes = style.canvas(3.1)
    means, words, lasts = [], [], [0.0]
    for group in first_of_each(groups):
        look, score = looks[group.algorithm], group.score()
        updates, seconds, values = validation(group)
        if len(updates) > 1:
            places = seconds.mean(0) if by_time else updates
            band(axes, places, values.min(0), values.max(0), look, seeds=len(values))
            rings(axes, group, look, by_time=by_time)
            line(axes, places, values.mean(0), look, group.algorithm, dashed=False)
            means += list(values.mean(0))
            lasts.append(float(places[-1]))
            unit = f"{formatting.amount(places[-1])} s" if by_time else f"{places[-1]:,.0f} updates"
            first, last = (formatting.score(values.mean(0)[place], group.metric) for place in (0, -1))
            words.append(f"{group.algorithm} from {first} to {last} in {unit}")
        else:
            level = float(values.mean()) if values.size else score.mean
            note = ("no curve" if group.trained else "not trained") + ("" if values.size else ": test score")
            label = f"{group.algorithm} ({note})"
            alpha = PALE if look.pale else None
            axes.axhline(level, **look.ink, dashes=(4, 3), linewidth=1.3, label=label, alpha=alpha)
            means.append(level)
            words.append(f"{label} at {formatting.score(level, group.metric)}")
    axes.set_xlabel("training time (seconds of meta-updates)" if by_time else "meta-updates")
    axes.set_xlim(0, max(lasts) * 1.02 or 1.0)
    style.scale("y", axes, means, groups[0], prefix="validation ")
    ends.label_ends(figure, axes)
    return figure, "; ".join(words)


def validation(group: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Updates [points], seconds and scores [seeds, points], at the updates that all seeds have."""
    known = [{point.update: point for point in record.curve} for record in group.scored_records]
    shared = sorted(set.intersection(*map(set, known))) if known else []
    seconds = np.array([[curve[update].train_seconds for update in shared] for curve in known])
    values = np.array([[curve[update].score for update in shared] for curve in known])
    return np.array(shared), seconds, values


def line(axes: Axes, places: np.ndarray, values: np.ndarray, look: Look, label: str, *, dashed: bool) -> None:
    """One series, with its markers where they do not crowd."""
    every = max(1, math.ceil(len(places) / 11))
    sns.lineplot(
        x=places, y=values, ax=axes, **look.ink, label=label, legend=False, errorbar=None,
        marker=look.marker, markersize=2 if look.pale else 5, markeredgewidth=0, markevery=every,
        linestyle="--" if dashed else "-", linewidth=0.8 if look.pale else 1.6, alpha=PALE if look.pale else None,
    )  # fmt: skip


def band(axes: Axes, places: np.ndarray, low: Values, high: Values, look: Look, *, seeds: int) -> None:
    """From low to high; none around a pale line, or of too few seeds."""
    if not look.pale and seeds >= MIN_SEEDS:
        axes.fill_between(places, low, high, **look.ink, alpha=0.15, linewidth=0)


def rings(axes: Axes, group: Configuration, look: Look, *, by_time: bool) -> None:
    """Around the validation of the tested state, of each seed in which it is not the last."""
    for record in group.scored_records:
        best = selected_point(record)
        if best and best is not record.curve[-1] and not look.pale:
            x = best.train_seconds if by_time else best.update
            axes.plot([x], [best.score], **look.ink, marker="o", markersize=7, fillstyle="none", linestyle="")


def strokes(look: Look, *, opened: bool = False) -> dict[str, Any]:
    """A filled marker, or an open one."""
    return {**look.ink, "fmt": look.marker, "markerfacecolor": style.PAPER if opened else look.color}


def name(group: Configuration, groups: Sequence[Configuration]) -> str:
    """The algorithm, and the protocol where they do not all compete under the same."""
    return f"{group.algorithm}, {group.protocol}" if under_both(groups) else group.algorithm


def second(group: Configuration, groups: Sequence[Configuration]) -> bool:
    return group.protocol == "inductive" and under_both(groups)


def under_both(groups: Sequence[Configuration]) -> bool:
    return len({group.competing_protocols[0] for group in groups}) > 1


def listed(groups: Sequence[Configuration]) -> str:
    """Every score with its interval."""
    known = ((name(group, groups), group.score(), group.metric) for group in groups)
    return "; ".join(f"{label} {formatting.with_interval(score.mean, score.half, of)}" for label, score, of in known)


KINDS = (
    Kind("1a Scores", "scores", "Test score", scores,
         "Mean and its 95% interval; the small dots are the seeds."),
    Kind("1b Scores", "learning", "Learning curves", partial(curves, by_time=False),
         "Mean over the seeds, band from the lowest to the highest. Dashed: no curve. Rings: "
         "tested states that are not the last."),
    Kind("1c Scores", "adaptation", "Adaptation", adaptation,
         "Test score after each inner step, with its 95% interval."),
    Kind("2 Training and adaptation", "clock", "Score against training time", partial(curves, by_time=True),
         "The learning curves against the seconds spent in meta-updates, without sampling or evaluation."),
)  # fmt: skip
