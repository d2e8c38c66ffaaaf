"""Intervals for a mean over seeds x tasks.

Every trial of a suite meets the same test tasks, so seeds and tasks are crossed:

    score[s, t] = mean + seed[s] + task[t] + error[s, t]        (two-way random effects, one score a cell)

The mean over all cells has variance (var_seed / S + var_task / T + var_error / (S T)), which is estimated
without bias by (MS_seed + MS_task - MS_error) / (S T) from the mean squares of the analysis of variance
(Searle, Casella & McCulloch, Variance Components, 1992, chapter 4; Brennan, Generalizability Theory, 2001,
chapter 3). MS_seed and (MS_task - MS_error), at least 0, are the parts that seeds and tasks have in it.

Its degrees of freedom d are a mean of those of seeds and tasks, weighted by these shares u and 1 - u:

    1 / d = u / (S - 1) + (1 - u) / (T - 1)

Satterthwaite (Biometrics Bulletin 2, 1946) has the squares of the shares there. With few seeds that is too
sure of itself where chance made u small, and covers 92% at 3 seeds; Student's quantile for each part,
added in quadrature (Banerjee, Sankhya A 23, 1961), never covers too little, and up to 98%. This lies between
them: for normal effects, whatever the shares, it covers 94.2 to 96.7% at 3 seeds, 95.0 to 96.4% at 5 and 94.9
to 96.0% at 10, but 90.6 to 96.7% at 2. `benchmarks/coverage.py` measures it; docs/statistics.md has the table,
with other laws: where seeds are skewed, as when training sometimes collapses, it falls to 88%.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its interval."""

    mean: float
    half: float
    degrees: float
    seeds: int
    tasks: int
    level: float = 0.95

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def includes_zero(self) -> bool:
        return not (self.low > 0 or self.high < 0)

    def flipped(self, around: float = 0.0) -> Interval:
        """The same seen from the other side: of b - a, where this is of a - b."""
        return replace(self, mean=2 * around - self.mean)

    def at(self, level: float) -> Interval:
        """The same at another level."""
        if math.isnan(self.half) or not self.half:
            return replace(self, level=level)
        wider = student.ppf(0.5 + level / 2, self.degrees) / student.ppf(0.5 + self.level / 2, self.degrees)
        return replace(self, half=float(self.half * wider), level=level)

    @property
    def p(self) -> float:
        """Of a mean at least as far from 0 if the true one were 0: below 0.05 where a 95% interval leaves 0 out."""
        if math.isnan(self.mean) or math.isnan(self.half) or self.mean == 0:
            return 1.0
        if self.half == 0:
            return 0.0
        ratio = abs(self.mean) / self.half * student.ppf(0.5 + self.level / 2, self.degrees)
        return float(2 * student.sf(ratio, self.degrees))


def interval(scores: Array, level: float = 0.95) -> Interval:
    """For the mean of `scores` [seeds, tasks], over both; over tasks only where there is one seed.

    Examples:
        >>> found = interval(np.array([[0.8, 0.9, 0.7], [0.9, 0.9, 0.8]]))
        >>> f"{found.mean:.3f} ± {found.half:.3f}"
        '0.833 ± 0.340'
    """
    seeds, tasks = scores.shape
    variance, degrees = crossed(scores) if min(seeds, tasks) > 1 else one_way(scores)
    half = float(student.ppf(0.5 + level / 2, degrees)) * math.sqrt(variance) if variance else 0.0
    return Interval(float(scores.mean()), half, degrees, seeds, tasks, level)


def crossed(scores: Array) -> tuple[float, float]:
    """The variance of the grand mean, and its degrees of freedom."""
    variance, degrees = spread(mean_squares(scores), *scores.shape)
    return float(variance), float(degrees)


def mean_squares(scores: Array) -> Array:
    """MS_seed, MS_task and MS_error [3, ...] of scores [..., seeds, tasks]."""
    seeds, tasks = scores.shape[-2:]
    mean = scores.mean((-2, -1), keepdims=True)
    of_seed, of_task = scores.mean(-1, keepdims=True) - mean, scores.mean(-2, keepdims=True) - mean
    rest = scores - mean - of_seed - of_task
    return np.stack(
        [
            tasks * (of_seed**2).sum((-2, -1)) / (seeds - 1),
            seeds * (of_task**2).sum((-2, -1)) / (tasks - 1),
            (rest**2).sum((-2, -1)) / ((seeds - 1) * (tasks - 1)),
        ]
    )


def spread(squares: Array, seeds: int, tasks: int) -> tuple[Array, Array]:
    """The variance of the grand mean and its degrees of freedom [...], from mean squares [3, ...]."""
    of_seed, of_task, error = squares
    total = of_seed + np.maximum(of_task - error, 0)
    share = np.divide(of_seed, total, out=np.ones_like(total), where=total > 0)
    degrees = 1 / (share / (seeds - 1) + (1 - share) / (tasks - 1))
    return total / (seeds * tasks), degrees


def one_way(scores: Array) -> tuple[float, float]:
    """The same where there is one seed, or one task: the spread of the others is all that can be seen."""
    if scores.size < 2:
        return math.nan, 1.0
    return float(scores.var(ddof=1) / scores.size), float(scores.size - 1)


def paired(a: Mapping[int, Array], b: Mapping[int, Array]) -> Array | None:
    """a - b [common seeds, common tasks], each seed -> scores [tasks]; None where no seed is common.

    Examples:
        >>> paired({0: np.array([0.5, 1.0]), 1: np.array([1.0, 1.0])}, {1: np.array([0.5, 1.0])})
        array([[0.5, 0. ]])
    """
    if not (common := sorted(a.keys() & b.keys())):
        return None
    tasks = min(len(side[seed]) for side in (a, b) for seed in common)
    return np.stack([a[seed][:tasks] - b[seed][:tasks] for seed in common])


def difference(a: Mapping[int, Array], b: Mapping[int, Array], level: float = 0.95) -> Interval:
    """The mean of a - b, each seed -> scores [tasks], with its interval: paired on common seeds and tasks.

    With no seed in common nothing is paired, and the two intervals are added in quadrature instead.

    Examples:
        >>> better, worse = ({0: np.array([0.8, 0.9]) - less, 1: np.array([0.7, 0.9]) - less} for less in (0.0, 0.1))
        >>> found = difference(better, worse)
        >>> round(found.mean, 3), found.seeds, found.tasks
        (0.1, 2, 2)
    """
    cells = paired(a, b)
    if cells is not None:
        return interval(cells, level)
    tasks = min(len(values) for values in (*a.values(), *b.values()))
    first, second = (interval(stack(side, tasks), level) for side in (a, b))
    half, degrees = math.hypot(first.half, second.half), min(first.degrees, second.degrees)
    return Interval(first.mean - second.mean, half, degrees, 0, tasks, level)


def stack(by_seed: Mapping[int, Array], tasks: int | None = None) -> Array:
    """[seeds, tasks], seeds in order.

    Examples:
        >>> stack({1: np.array([0.5, 0.6]), 0: np.array([0.7, 0.8])})
        array([[0.7, 0.8],
               [0.5, 0.6]])
    """
    tasks = tasks or min(len(values) for values in by_seed.values())
    return np.stack([by_seed[seed][:tasks] for seed in sorted(by_seed)])
