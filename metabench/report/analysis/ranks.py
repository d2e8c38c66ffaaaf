"""Average ranks of configurations over blocks: the test tasks of one suite, or the suites of one report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metabench.report.analysis.pairs import Pair, comparison_groups, gain
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.comparisons import Ranking, ranking, signed_ranks
from metabench.report.statistics.intervals import stack

MIN_SUITES = 6
"""Of which the most extreme outcome of Wilcoxon's test has p < 0.05: 2 / 2^6 = 0.03."""


def over_tasks(members: Sequence[Configuration]) -> Ranking:
    """Of one comparison group: each task a block, its scores the means over these seeds, of which alone it speaks."""
    tasks = min(len(scores) for group in members for scores in group.final.values())
    sign = [1.0 if group.higher_is_better else -1.0 for group in members]
    columns = [each * stack(group.final, tasks).mean(0) for each, group in zip(sign, members)]
    return ranking([group.algorithm for group in members], np.stack(columns, 1))


def over_suites(groups: Sequence[Configuration]) -> tuple[Ranking, dict[tuple[str, str], float]] | None:
    """Each suite a block (under its first protocol), for the algorithms that all have; None below two of either.

    With it, p values of Wilcoxon's signed-rank test for every two, after Holm's correction.
    """
    by_suite: dict[str, list[Configuration]] = {}
    for (suite, _), members in comparison_groups(groups).items():
        by_suite.setdefault(suite, members)
    blocks = [{group.algorithm: gain(group) for group in members} for members in by_suite.values()]
    names = sorted(set.intersection(*map(set, blocks))) if blocks else []
    if len(blocks) < 2 or len(names) < 2:
        return None
    gains = np.array([[block[name] for name in names] for block in blocks])
    return ranking(names, gains), signed_ranks(names, gains)


def together(names: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """The longest runs (first, last) of `names`, in their order, of which no two differ significantly."""
    apart = {frozenset((pair.first.algorithm, pair.second.algorithm)) for pair in pairs if pair.significant}
    return runs(names, apart)


def runs(names: Sequence[str], apart: set[frozenset[str]]) -> list[tuple[int, int]]:
    """The same from the pairs that differ significantly."""
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and not any(
            frozenset((names[last + 1], each)) in apart for each in names[first : last + 1]
        ):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
