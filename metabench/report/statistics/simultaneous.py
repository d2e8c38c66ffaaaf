"""Many comparisons with one error rate: the interval that is shown is the one that the verdict comes from.

With `m` comparisons each interval is at the level 0.95 ** (1 / m), and so all of them hold at once in at least 95%
of all repetitions, however they depend on each other (Sidak, JASA 62, 1967). Dunnett's multivariate t would be a
little narrower, but wants a correlation that three seeds do not show.

Who is best is seen from the same scores, so the comparison is with the best *whichever that is* (Hsu, Annals of
Statistics 9, 1981; Edwards & Hsu, JASA 78, 1983). Compared with the truly best the other k - 1 are a family of
k - 1; it is among those that nothing beats in its own family; so the interval of each reaches over all of these. No
algorithm is better than the best: it ends at 0, and does so for every algorithm that may be the best itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metabench.report.statistics.intervals import Array, Interval, difference

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
    for a in range(count):
        for b in range(a):
            found = difference(scores[a], scores[b])
            gains[a, b], gains[b, a] = sign * found.mean, -sign * found.mean
            halves[a, b] = halves[b, a] = corrected(found, count - 1).half
            values[(a, b) if gains[a, b] < 0 else (b, a)] = corrected_p(found.p, count - 1)
    means = [np.mean([cells.mean() for cells in each.values()]) for each in scores]
    leader = np.arange(count) == int(np.argmax(sign * np.array(means)))
    low, high = limits(gains, halves, leader)
    least = np.where(leader, 1.0, values.min(1))  # the level at which each is no longer a candidate for the best
    others = np.where(np.eye(count, dtype=bool), 0.0, np.minimum(values, least))
    ps = np.where(leader, 1.0, np.maximum(values.min(1), others.max(1)))
    behind = [(sign * gains[a, leader].item(), *sorted((sign * low[a], sign * high[a])), ps[a]) for a in range(count)]
    return [Behind(*(float(value) + 0.0 for value in each)) for each in behind]


def limits(gains: Array, halves: Array, leader: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Low and high [..., k] of what each gains over the best, from `gains` of row over column [..., k, k].

    `leader` [..., k] is true for the one with the best mean, which is a candidate whatever chance says.
    """
    beaten = np.any(gains + halves < 0, axis=-1)
    candidate = np.logical_or(~beaten, leader)[..., None, :]
    low = np.where(candidate, gains - halves, np.inf).min(-1)
    high = np.where(candidate, gains + halves, -np.inf).max(-1)
    return np.minimum(low, 0.0), np.minimum(high, 0.0)
