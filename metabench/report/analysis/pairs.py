"""Two algorithms on the same seeds and the same test tasks: what lies between them, and whether it is significant.

Every statement about a pair is a mean over cells (seed, task): of the difference of the two scores, or of 1
where the first is better, 0 where it is worse and one half where they tie. So one interval serves them all,
that of `statistics`, which takes seeds and tasks for random. Several comparisons share one error rate by
Holm's correction (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.comparisons import ALPHA, holm, probability_of_improvement
from metabench.report.statistics.intervals import Interval, difference, paired

ComparisonGroup = tuple[str, str]
"""A suite and a protocol: who is compared with whom."""


@dataclass(frozen=True)
class Pair:
    """Two configurations that compete on one suite under one protocol."""

    first: Configuration
    second: Configuration
    difference: Interval
    """first - second, in the metric's unit."""
    adjusted: float
    """The p value of no difference, after Holm's correction over its family."""
    family: int
    """How many comparisons there were in that."""
    better: Interval | None
    """The probability that the first does better on a task, ties half; None where nothing is paired."""

    @property
    def significant(self) -> bool:
        """Whether p is below ALPHA after that correction."""
        return self.adjusted < ALPHA


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


def all_pairs(members: Sequence[Configuration]) -> list[Pair]:
    """Every two of a comparison group, the better one first; one family."""
    couples = list(combinations(members, 2))
    gaps = [difference(first.final, second.final) for first, second in couples]
    return [
        Pair(first, second, gap, adjusted, len(couples), improvement(first, second))
        for (first, second), gap, adjusted in zip(couples, gaps, holm([gap.p for gap in gaps]))
    ]


def improvement(first: Configuration, second: Configuration) -> Interval | None:
    """The probability that the first does better on a task; None where no seed is common."""
    cells = paired(first.final, second.final)
    if cells is None:
        return None
    return probability_of_improvement(cells, higher_is_better=first.higher_is_better)


def to_best(members: Sequence[Configuration]) -> list[Pair]:
    """Of all pairs, those of the best, who comes first in `members`.

    The family is all pairs of the group here too, for who is the best was seen from the same scores.
    """
    return [pair for pair in all_pairs(members) if pair.first is members[0]]
