"""Two algorithms on the same seeds and the same test tasks: what lies between them, and whether it is a finding.

Every statement about a pair is a mean over cells (seed, task): of the difference of the two scores, or of 1
where the first is better, 0 where it is worse and one half where they tie. So one interval serves them all,
that of `statistics`, which takes seeds and tasks for random. Several comparisons share one error rate by
Holm's correction (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.intervals import Array, Interval, difference, interval

ALPHA = 0.05
"""How often a whole family of comparisons may find something where nothing is."""

ComparisonGroup = tuple[str, str]
"""A suite and a protocol: who is compared with whom."""


@dataclass(frozen=True)
class Pair:
    """Two groups of one arena."""

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
        """Whether the difference is a finding."""
        return self.adjusted < ALPHA


def comparison_groups(groups: Sequence[Configuration]) -> dict[ComparisonGroup, list[Configuration]]:
    """The groups that have scores, best first, by the suite and the protocol that they compete under."""
    own = {(group.suite, group.algorithm, group.protocol) for group in groups if group.steps}
    found: dict[ComparisonGroup, list[Configuration]] = {}
    for group in groups:
        for slot in group.competing_protocols if group.steps else ():
            if slot == group.protocol or (group.suite, group.algorithm, slot) not in own:
                found.setdefault((group.suite, slot), []).append(group)
    return {arena: sorted(found[arena], key=rank) for arena in sorted(found, key=lambda a: (a[0], late(a[1])))}


def late(protocol: str) -> tuple[bool, str]:
    return protocol != "transductive", protocol


def rank(group: Configuration) -> tuple[bool, float, str]:
    """Best first, a score that is no number last."""
    score = group.score()
    gain = score.mean * (-1 if group.higher_is_better else 1) if score else np.nan
    return bool(np.isnan(gain)), float(gain), group.algorithm


def all_pairs(members: Sequence[Configuration]) -> list[Pair]:
    """Every two of an arena, the better one first; one family."""
    couples = list(combinations(members, 2))
    gaps = [difference(first.final, second.final) for first, second in couples]
    return [
        Pair(first, second, gap, adjusted, len(couples), improvement(first, second))
        for (first, second), gap, adjusted in zip(couples, gaps, holm([gap.p for gap in gaps]))
    ]


def to_best(members: Sequence[Configuration]) -> list[Pair]:
    """Of all pairs, those of the best, who comes first in `members`.

    The family is all pairs of the arena here too, for who is the best was seen from the same scores.
    """
    return [pair for pair in all_pairs(members) if pair.first is members[0]]


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted so that the chance of any false finding among them is at most ALPHA at ALPHA."""
    order = np.argsort(values, kind="stable")
    steps = np.array(values, dtype=float)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def improvement(first: Configuration, second: Configuration) -> Interval | None:
    """P(first better than second) on a task, over common seeds and tasks (Agarwal et al. 2021, section 4.3)."""
    cells = paired(first.final, second.final)
    if cells is None:
        return None
    sign = 1.0 if first.higher_is_better else -1.0
    return interval(np.where(np.isnan(cells), np.nan, (np.sign(sign * cells) + 1) / 2))


def paired(a: Mapping[int, Array], b: Mapping[int, Array]) -> Array | None:
    """a - b [common seeds, common tasks]; None where no seed is common."""
    if not (common := sorted(a.keys() & b.keys())):
        return None
    tasks = min(len(side[seed]) for side in (a, b) for seed in common)
    return np.stack([a[seed][:tasks] - b[seed][:tasks] for seed in common])
