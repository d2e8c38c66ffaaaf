"""Many comparisons with one error rate: the interval that is shown is the one that the verdict comes from.

With `m` comparisons each interval is at the level 0.95 ** (1 / m), and so all of them hold at once in at least 95%
of all repetitions, however they depend on each other (Sidak, JASA 62, 1967).

All pairs of the algorithms of a suite are one family, and who is behind the best follows from it: nobody is better
than the best, so what one lacks to any other, it lacks to the best at least. An algorithm that is significantly
worse than some other is separated from the best, whoever that is; the others may be the best themselves (Hsu,
Annals of Statistics 9, 1981; Edwards & Hsu, JASA 78, 1983, who compare with the best alone: then one algorithm
whose seeds differ wildly, and that may therefore be the best, leaves nobody separated).

What seeds show of the variance of one pair is shared with all (`moderation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from metabench.report.statistics.intervals import Array, Interval, difference, paired
from metabench.report.statistics.moderation import Prior, shared_prior

ALPHA = 0.05
"""How often a whole family of comparisons may be wrong anywhere."""
Scores = Mapping[int, Array]
"""Seed -> scores [tasks]."""


def corrected(found: Interval, comparisons: int) -> Interval:
    """The same interval where it is one of so many that shall all hold at once.

    Examples:
        >>> alone = Interval(mean=0.2, half=0.1, degrees=20, seeds=5, tasks=100)
        >>> f"{corrected(alone, 10).half:.3f}"
        '0.151'
    """
    return found.at((1 - ALPHA) ** (1 / max(comparisons, 1)))


def corrected_p(p: float, comparisons: int) -> float:
    """Below ALPHA exactly where the corrected interval leaves 0 out.

    Examples:
        >>> round(corrected_p(0.001, 10), 4)
        0.01
    """
    return -math.expm1(comparisons * math.log1p(-p)) if p < 1 else 1.0


def seed_prior(scores: Sequence[Scores]) -> Prior:
    """What all pairs of algorithms say of how the means of a pair's seeds vary; nothing below three algorithms.

    Examples:
        >>> noise = np.random.default_rng(0).normal(size=(4, 3, 100))
        >>> f"{seed_prior([dict(enumerate(each)) for each in noise]).degrees:.1f}"
        '1.2'
        >>> seed_prior([dict(enumerate(each)) for each in noise[:2]]).degrees
        0.0
    """
    cells = {(a, b): paired(scores[a], scores[b]) for a, b in combinations(range(len(scores)), 2)}
    crossed = {pair: each for pair, each in cells.items() if each is not None and min(each.shape) > 1}
    variances = np.array([each.mean(1).var(ddof=1) for each in crossed.values()])
    degrees = np.array([len(each) - 1 for each in crossed.values()])
    return shared_prior(variances, degrees, len({name for pair in crossed for name in pair}))


def pairwise(scores: Sequence[Scores]) -> dict[tuple[int, int], Interval]:
    """(first, second) -> first - second of every two, with what all show of the seeds; not yet `corrected`.

    Examples:
        >>> noise = np.random.default_rng(0).normal(size=(3, 4, 100))
        >>> one, other, third = (dict(enumerate(level + each)) for level, each in zip((0, 0.1, 2), noise))
        >>> [pair for pair, found in pairwise([one, other, third]).items() if not found.includes_zero]
        [(0, 2), (1, 2)]
    """
    prior = seed_prior(scores)
    pairs = combinations(range(len(scores)), 2)
    return {(a, b): difference(scores[a], scores[b], prior=prior) for a, b in pairs}


@dataclass(frozen=True)
class Behind:
    """One algorithm beside the best of all, in the metric's unit."""

    mean: float
    """This one minus the one with the best mean."""
    low: float
    high: float
    """Of this one minus the best, whichever that is: all algorithms' at once. 0 is an end of it, or outside."""
    p: float
    """Below ALPHA where 0 is outside."""

    @property
    def separated(self) -> bool:
        """Whether it is not the best; otherwise it may be."""
        return self.low > 0 or self.high < 0


def behind_best(scores: Sequence[Scores], *, higher_is_better: bool) -> list[Behind]:
    """How far each algorithm is behind the best; `scores` in any order, at least two.

    Examples:
        >>> noise = np.random.default_rng(0).normal(size=(3, 4, 100))
        >>> one, other, third = (dict(enumerate(level + each)) for level, each in zip((0, 0.1, 2), noise))
        >>> [found.separated for found in behind_best([one, other, third], higher_is_better=False)]
        [False, False, True]
    """
    sign, count = 1.0 if higher_is_better else -1.0, len(scores)
    gains, halves, values = np.zeros((count, count)), np.zeros((count, count)), np.ones((count, count))
    found = pairwise(scores)
    for (a, b), alone in found.items():
        gains[a, b], gains[b, a] = sign * alone.mean, -sign * alone.mean
        halves[a, b] = halves[b, a] = corrected(alone, len(found)).half
        values[(a, b) if gains[a, b] < 0 else (b, a)] = corrected_p(alone.p, len(found))
    means = [np.mean([cells.mean() for cells in each.values()]) for each in scores]
    leader = np.arange(count) == int(np.argmax(sign * np.array(means)))
    low, high = limits(gains, halves, leader)
    ps = np.where(leader, 1.0, values.min(1))
    behind = [(sign * gains[a, leader].item(), *sorted((sign * low[a], sign * high[a])), ps[a]) for a in range(count)]
    return [Behind(*(float(value) + 0.0 for value in each)) for each in behind]


def limits(gains: Array, halves: Array, leader: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Low and high [..., k] of what each gains over the best, from `gains` of row over column [..., k, k].

    `leader` [..., k] is true for the one with the best mean, which may be the best whatever chance says.
    """
    high = np.where(leader, 0.0, np.minimum((gains + halves).min(-1), 0.0))
    candidate = (high == 0)[..., None, :]
    low = np.where(candidate, gains - halves, np.inf).min(-1)
    return np.minimum(low, high), high
