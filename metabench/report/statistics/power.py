"""Whether there are seeds and tasks enough: what a design can find, and what it would take to find a difference.

The paired differences of two algorithms have three components of variance: seed, task and what is left. Their
estimates foretell the interval of any other number of seeds and tasks, and so the smallest true difference that
would be found in 8 of 10 repetitions (Brennan, Generalizability Theory, 2001, chapter 4: a decision study).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from metabench.report.statistics.intervals import Array, halves, mean_squares, spread
from metabench.report.statistics.moderation import NO_PRIOR, Prior

POWER = 0.8
MAX_SEEDS, MAX_TASKS = 200, 10_000
"""Beyond these, more of the same is no advice."""


@dataclass(frozen=True)
class Components:
    """Of the variance of one paired difference."""

    seed: float
    task: float
    error: float


def components(cells: Array) -> Components | None:
    """From differences [seeds, tasks], negative estimates taken for 0; None for fewer than 2 of either.

    Examples:
        >>> components(np.array([[0.0, 0.1], [0.2, 0.3]])).seed.__round__(3)
        0.02
    """
    seeds, tasks = cells.shape
    if min(seeds, tasks) < 2:
        return None
    of_seed, of_task, error = mean_squares(cells)
    return Components(
        float(max(of_seed - error, 0.0)) / tasks, float(max(of_task - error, 0.0)) / seeds, float(error)
    )


def detectable(parts: Components, seeds: int, tasks: int, alpha: float = 0.05, prior: Prior = NO_PRIOR) -> float:
    """The smallest true difference that `seeds` x `tasks` find with probability POWER at level `alpha`.

    `prior` is what other pairs say of the seeds (`simultaneous.seed_prior`).

    Examples:
        >>> parts = Components(seed=0.0, task=0.01, error=0.01)
        >>> f"{detectable(parts, seeds=5, tasks=100):.3f} {detectable(parts, seeds=5, tasks=400):.3f}"
        '0.032 0.016'
    """
    expected = np.array(
        [
            tasks * parts.seed + parts.error,
            seeds * parts.task + parts.error,
            parts.error,
        ]
    )
    variance, degrees = spread(expected, seeds, tasks, prior)
    half, _ = halves(expected, seeds, tasks, prior, 1 - alpha)
    return float(half) + float(stdtrit(degrees, POWER)) * math.sqrt(float(variance))


def seeds_needed(
    parts: Components, difference: float, tasks: int, alpha: float = 0.05, prior: Prior = NO_PRIOR
) -> int | None:
    """The fewest seeds, with as many tasks as now, that would find a true `difference`.

    Examples:
        >>> seeds_needed(Components(seed=0.01, task=0.0, error=0.0), 0.1, tasks=100)
        10
    """
    return fewest(lambda seeds: detectable(parts, seeds, tasks, alpha, prior) <= abs(difference), MAX_SEEDS)


def tasks_needed(
    parts: Components, difference: float, seeds: int, alpha: float = 0.05, prior: Prior = NO_PRIOR
) -> int | None:
    """The same for tasks, with as many seeds as now; None where no number of tasks would do.

    Examples:
        >>> tasks_needed(Components(seed=0.0, task=0.01, error=0.01), 0.032, seeds=5)
        102
    """
    return fewest(lambda tasks: detectable(parts, seeds, tasks, alpha, prior) <= abs(difference), MAX_TASKS)


def fewest(suffices: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 2 to `most` that suffices, if more never does harm; None where none does."""
    if not suffices(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
