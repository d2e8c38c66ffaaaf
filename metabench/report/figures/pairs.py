"""Figures of every algorithm beside the best: paired differences, and the probability of improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from metabench.report import formatting
from metabench.report.analysis.pairs import ComparisonGroup, Pair, comparison_groups, to_best
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import grid, scores, style
from metabench.report.figures.scores import Drawn, Kind
from metabench.report.figures.style import Look
from metabench.report.statistics.intervals import Interval

ROW = 0.26
"""Inches a line takes."""


class Measure(NamedTuple):
    """What is drawn of a pair."""

    value: Callable[[Pair], Interval | None]
    """Of the other against the best."""
    nothing: float
    """Where there is no difference."""
    words: Callable[[Interval, str], str]
    axis: Callable[[Axes, Configuration], str]
    """Formats it for the best, and returns its label."""


def differences(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Paired differences to the best, with intervals; a filled marker is a finding."""
    return forest(groups, looks, Measure(lambda pair: pair.difference.flipped(), 0.0, difference, of_differences))


def improvement(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The probability of doing better than the best on a task."""
    return forest(groups, looks, Measure(chance, 0.5, share, of_chances))


def difference(value: Interval, metric: str) -> str:
    return formatting.difference(value.mean, value.half, metric)


def of_differences(axes: Axes, best: Configuration) -> str:
    """In points for a share, otherwise in the metric's unit."""
    unit = "" if best.higher_is_better else ", lower is better"
    if formatting.is_share(best.metric):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
        unit = f", points{unit}"
    return f"{best.metric} minus that of {best.algorithm}{unit}"


def chance(pair: Pair) -> Interval | None:
    return pair.better.flipped(0.5) if pair.better else None


def share(value: Interval, _: str) -> str:
    return formatting.with_interval(value.mean, value.half, "accuracy")


def of_chances(axes: Axes, best: Configuration) -> str:
    """All of what a probability can be."""
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    return f"probability of doing better than {best.algorithm} on a task"


def forest(groups: Sequence[Configuration], looks: Mapping[str, Look], measure: Measure) -> Drawn | None:
    """A row for each that is not the best, by protocol; None where there is nobody to compare with."""
    several = contests(groups)
    if not several:
        return None
    heights = [0.75 + ROW * len(members) for members in several.values()]
    figure, panels = grid.panels(len(several), 1, sum(heights), heights=heights)
    words = []
    for axes, (arena, members) in zip(panels[:, 0], several.items()):
        shown, said = to_best(members), []
        for height, pair in enumerate(shown):
            if (value := measure.value(pair)) is None:
                continue
            strokes = scores.strokes(looks[pair.second.algorithm], opened=not pair.significant)
            axes.errorbar(value.mean, height, xerr=value.half, capsize=3, markersize=6, **strokes)
            finding = "" if pair.significant else ", no finding"
            said.append(f"{pair.second.algorithm} {measure.words(value, pair.first.metric)}{finding}")
        words.append(f"{title(arena, several)}against {members[0].algorithm}, {'; '.join(said)}")
        axes.axvline(measure.nothing, color=style.INK, linewidth=0.9, linestyle=":")
        grid.name_rows(axes, [pair.second.algorithm for pair in shown], 30)
        axes.set_xlabel(style.wrap(title(arena, several) + measure.axis(axes, members[0]), 60))
    return figure, "; ".join(words)


def contests(groups: Sequence[Configuration]) -> dict[ComparisonGroup, list[Configuration]]:
    """The comparison_groups in which there is somebody to compare with."""
    return {arena: members for arena, members in comparison_groups(groups).items() if len(members) > 1}


def title(arena: ComparisonGroup, several: Mapping[ComparisonGroup, Sequence[Configuration]]) -> str:
    """The protocol, where there are several."""
    return f"{arena[1]}: " if len(several) > 1 else ""


KINDS = (
    Kind("3 Who is better, and how surely", "differences", "Difference to the best", differences,
         "Paired difference to the best on the same seeds and test tasks, with its own 95% interval. Filled: a "
         "finding after Holm’s correction; open: not a finding."),
    Kind("3 Who is better, and how surely", "improvement", "Probability of improvement", improvement,
         "How often each does better on a test task than the one with the best mean; a tie counts half. At 50% "
         "neither is better. Filled: the difference of means is a finding."),
)  # fmt: skip
