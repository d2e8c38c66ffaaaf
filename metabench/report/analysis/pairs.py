"""Algorithms on the same seeds and the same test tasks: what lies between any two, whether it is significant; ranks.

Every statement about a pair is a mean over cells (seed, task): of the difference of the two scores, or of 1 where
the first is better, 0 where it is worse and one half where they tie. So one interval serves them all, that of
`statistics`, which takes seeds and tasks for random. All pairs of a suite and protocol share one error rate, and
who is separated from the best follows from them (`statistics.simultaneous`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics import comparisons
from metabench.report.statistics.comparisons import Ranking, ranking, signed_ranks
from metabench.report.statistics.intervals import Interval, paired, stack
from metabench.report.statistics.simultaneous import Behind, behind_best, corrected, corrected_p, pairwise

MIN_SUITES = 6
"""Of which the most extreme outcome of Wilcoxon's test has p < 0.05: 2 / 2^6 = 0.03."""
ComparisonGroup = tuple[str, str]
"""A suite and a protocol: who is compared with whom."""


@dataclass(frozen=True)
class Pair:
    """Two configurations that compete on one suite under one protocol."""

    first: Configuration
    second: Configuration
    difference: Interval
    """first - second, in the metric's unit; all pairs' intervals hold at once."""
    p: float
    """Of no difference, were this the only pair."""
    family: int
    """How many pairs there are."""
    better: Interval | None
    """The probability that the first does better on a task, ties half; None where nothing is paired."""

    @property
    def adjusted(self) -> float:
        """p corrected for the number of pairs."""
        return corrected_p(self.p, self.family)

    @property
    def significant(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.difference.includes_zero


def comparison_groups(groups: Sequence[Configuration]) -> dict[ComparisonGroup, list[Configuration]]:
    """The configurations that have scores, best first, by the suite and the protocol that they compete under."""
    own = {(group.suite, group.algorithm, group.protocol) for group in groups if group.steps}
    members = grouped(
        ((group.suite, protocol), group)
        for group in groups
        for protocol in (group.competing_protocols if group.steps else ())
        if protocol == group.protocol or (group.suite, group.algorithm, protocol) not in own
    )
    order = sorted(members, key=lambda key: (key[0], key[1] != "transductive", key[1]))
    return {key: sorted(members[key], key=rank) for key in order}


def contests(groups: Sequence[Configuration]) -> dict[ComparisonGroup, list[Configuration]]:
    """Those in which there is somebody to compare with."""
    return {key: members for key, members in comparison_groups(groups).items() if len(members) > 1}


def gain(group: Configuration) -> float:
    """The mean score, higher is better; NaN where no trial can be counted."""
    return group.score().mean * (1 if group.higher_is_better else -1)


def rank(group: Configuration) -> tuple[bool, float, str]:
    """Best first, a score that is no number last."""
    return math.isnan(gain(group)), -gain(group), group.algorithm


def best_first(groups: Iterable[Configuration]) -> list[Configuration]:
    """In the order of tables: by suite and the protocol that they compete under, what has no score last."""
    return sorted(
        groups, key=lambda group: (group.suite, group.competing_protocols[0] != "transductive", rank(group))
    )


def all_pairs(members: Sequence[Configuration]) -> list[Pair]:
    """Every two of a comparison group, the better one first; one family."""
    found = pairwise([group.final for group in members])
    couples = {(a, b): (members[a], members[b]) for a, b in found}
    return [
        Pair(*couples[pair], corrected(gap, len(found)), gap.p, len(found), improvement(*couples[pair]))
        for pair, gap in found.items()
    ]


def to_best(members: Sequence[Configuration]) -> list[Behind]:
    """For each of a comparison group, how far it is behind the best."""
    return behind_best([group.final for group in members], higher_is_better=members[0].higher_is_better)


def improvement(first: Configuration, second: Configuration) -> Interval | None:
    """The probability that the first does better on a task; None where no seed is common."""
    cells = paired(first.final, second.final)
    if cells is None:
        return None
    return comparisons.probability_of_improvement(cells, higher_is_better=first.higher_is_better)


def over_tasks(members: Sequence[Configuration]) -> Ranking:
    """Of one comparison group: each task a block, its scores the means over these seeds, of which alone it speaks."""
    tasks = min(len(scores) for group in members for scores in group.final.values())
    means = np.stack([stack(group.final, tasks).mean(0) for group in members], 1)
    return ranking([group.algorithm for group in members], means if members[0].higher_is_better else -means)


def over_suites(groups: Sequence[Configuration]) -> tuple[Ranking, dict[tuple[str, str], float]] | None:
    """Each suite a block (under its first protocol), for the algorithms that all have; None below two of either.

    With it, p values of Wilcoxon's signed-rank test for every two, after Holm's correction.
    """
    by_suite = grouped((suite, members) for (suite, _), members in comparison_groups(groups).items())
    blocks = [{group.algorithm: gain(group) for group in first} for first, *_ in by_suite.values()]
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
    longest: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and not any({names[last + 1], name} in apart for name in names[first : last + 1]):
            last += 1
        if last > first and (not longest or last > longest[-1][1]):
            longest.append((first, last))
    return longest
