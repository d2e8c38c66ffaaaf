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

At higher levels d would be too sure of itself: one of 36 intervals with 3 seeds would miss 5 times as often as it
says. From the 95% interval to any other is therefore the ratio of Banerjee's intervals at the two levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from metabench.report.statistics.moderation import NO_PRIOR, Prior
from metabench.report.statistics.moderation import Array as Array

LEVEL = 0.95
LEAST_P = 1e-100
"""What is smaller is shown as this."""
Parts = tuple[tuple[float, float], ...]
"""(variance, degrees of freedom) of what adds up to the variance of a mean."""


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its interval."""

    mean: float
    half: float
    degrees: float
    seeds: int
    tasks: int
    level: float = LEVEL
    parts: Parts = ()
    """Of seeds and tasks; of one of them where there is one of the other."""

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
        return replace(self, half=self.half * self.reach(1 - level) / self.reach(1 - self.level), level=level)

    def reach(self, p: float) -> float:
        """Half of Banerjee's interval at the level 1 - p."""
        parts = self.parts or ((1.0, self.degrees),)
        return math.sqrt(sum(variance * stdtrit(degrees, p / 2) ** 2 for variance, degrees in parts))

    @property
    def p(self) -> float:
        """Of a mean at least as far from 0 if the true one were 0: below 0.05 where a 95% interval leaves 0 out."""
        if math.isnan(self.mean) or math.isnan(self.half) or self.mean == 0:
            return 1.0
        if self.half == 0:
            return 0.0
        reached = abs(self.mean) / self.half * self.reach(1 - self.level)
        if len(self.parts) < 2:
            variance, degrees = self.parts[0] if self.parts else (1.0, self.degrees)
            return float(2 * stdtr(degrees, -reached / math.sqrt(variance)))
        if self.reach(LEAST_P) <= reached:
            return LEAST_P
        return math.exp(brentq(lambda log: self.reach(math.exp(log)) - reached, math.log(LEAST_P), 0.0, xtol=1e-9))


def interval(scores: Array, level: float = LEVEL, prior: Prior = NO_PRIOR) -> Interval:
    """For the mean of `scores` [seeds, tasks], over both; over tasks only where there is one seed.

    `prior` is of the variance of the seeds' means (`moderation`).

    Examples:
        >>> found = interval(np.array([[0.8, 0.9, 0.7], [0.9, 0.9, 0.8]]))
        >>> f"{found.mean:.3f} ± {found.half:.3f}"
        '0.833 ± 0.340'
    """
    seeds, tasks = scores.shape
    mean = float(scores.mean())
    if min(seeds, tasks) > 1:
        squares = mean_squares(scores)
        half, degrees = halves(squares, seeds, tasks, prior)
        parts = tuple((float(variance), float(own)) for variance, own in sources(squares, seeds, tasks, prior))
        return Interval(mean, float(half), float(degrees), seeds, tasks, LEVEL, parts).at(level)
    if scores.size < 2:
        return Interval(mean, math.nan, 1.0, seeds, tasks, level)
    variance, own = float(scores.var(ddof=1) / scores.size), float(scores.size - 1)
    half = math.sqrt(variance) * stdtrit(own, 0.5 + LEVEL / 2)
    return Interval(mean, float(half), own, seeds, tasks, LEVEL, ((variance, own),)).at(level)


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


def sources(
    squares: Array, seeds: int, tasks: int, prior: Prior = NO_PRIOR
) -> tuple[tuple[Array, Array | float], ...]:
    """What seeds and tasks have in the variance of the grand mean [...], each with its degrees of freedom."""
    of_seed, of_task, error = squares
    seed = prior.moderate(of_seed / tasks, seeds - 1) / seeds
    return (seed, prior.degrees + seeds - 1), (np.maximum(of_task - error, 0) / (seeds * tasks), tasks - 1)


def spread(squares: Array, seeds: int, tasks: int, prior: Prior = NO_PRIOR) -> tuple[Array, Array]:
    """The variance of the grand mean and its degrees of freedom [...], from mean squares [3, ...]."""
    (seed, of_seeds), (task, of_tasks) = sources(squares, seeds, tasks, prior)
    total = seed + task
    share = np.divide(seed, total, out=np.ones_like(total), where=total > 0)
    return total, 1 / (share / of_seeds + (1 - share) / of_tasks)


def halves(
    squares: Array, seeds: int, tasks: int, prior: Prior = NO_PRIOR, level: float = LEVEL
) -> tuple[Array, Array]:
    """Half-widths and degrees of freedom [...], from mean squares [3, ...]; `Interval.at` for many at once."""
    variance, degrees = spread(squares, seeds, tasks, prior)
    half = -stdtrit(degrees, (1 - LEVEL) / 2) * np.sqrt(variance)
    if level == LEVEL:
        return half, degrees
    near, far = (
        sum(part * stdtrit(own, (1 - at) / 2) ** 2 for part, own in sources(squares, seeds, tasks, prior))
        for at in (LEVEL, level)
    )
    return half * np.sqrt(np.divide(far, near, out=np.ones_like(half), where=near > 0)), degrees


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


def difference(
    a: Mapping[int, Array], b: Mapping[int, Array], level: float = LEVEL, prior: Prior = NO_PRIOR
) -> Interval:
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
        return interval(cells, level, prior)
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
