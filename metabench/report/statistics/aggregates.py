"""What one algorithm's scores [seeds, tasks] say beside their mean, each with an interval over both.

Interquartile mean, optimality gap and performance profile are those of Agarwal et al., "Deep reinforcement
learning at the edge of the statistical precipice", NeurIPS 2021, section 4. There each is given a bootstrap
interval, which resamples seeds and so covers too little where there are three of them (`bootstrap`). Here each
is written as a mean over cells, exactly or to first order, and takes the interval of `statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import trim_mean

from metabench.report.formatting import is_share
from metabench.report.statistics.intervals import Array, Interval, interval

TRIM = 0.25
"""The part of the cells that is left out at either end of an interquartile mean."""


def within_seeds(by_seed: Mapping[int, Array]) -> dict[int, Interval]:
    """Seed -> the mean over its tasks, with an interval that says nothing about other seeds.

    Examples:
        >>> within_seeds({3: np.array([0.4, 0.6])})[3].mean
        0.5
    """
    return {seed: interval(scores[None, :]) for seed, scores in sorted(by_seed.items())}


def interquartile_mean(scores: Array) -> Interval:
    """The mean of the middle half of all cells.

    Its interval is that of the Winsorised cells, widened for those that were cut off (Tukey & McLaughlin,
    Sankhya A 25, 1963): to first order a trimmed mean is the mean of its influence values.

    Examples:
        >>> interquartile_mean(np.array([[0.0, 0.8, 0.9, 1.0]])).mean.__round__(3)
        0.85
    """
    middle = float(trim_mean(scores, TRIM, axis=None))
    low, high = np.quantile(scores, (TRIM, 1 - TRIM))
    values = np.clip(scores, low, high)
    return interval(middle + (values - values.mean()) / (1 - 2 * TRIM))


def optimality_gap(scores: Array, target: float, *, higher_is_better: bool) -> Interval:
    """By how much a cell falls short of `target`, on average; what is beyond it does not make up for others.

    Examples:
        >>> optimality_gap(np.array([[0.5, 1.0, 1.5]]), 1.0, higher_is_better=True).mean.__round__(3)
        0.167
    """
    short = target - scores if higher_is_better else scores - target
    return interval(np.maximum(short, 0.0))


def perfect(metric: str, *, higher_is_better: bool) -> float | None:
    """The best score that a metric has: 1 for a share, 0 for an error; None where none is known."""
    if is_share(metric):
        return 1.0
    return None if higher_is_better else 0.0


def profile(scores: Array, thresholds: Array, *, higher_is_better: bool) -> list[Interval]:
    """The share of cells that do at least as well as each threshold.

    Examples:
        >>> scores = np.array([[0.2, 0.4, 0.6, 0.8]])
        >>> [found.mean for found in profile(scores, np.array([0.3, 0.7]), higher_is_better=True)]
        [0.75, 0.25]
    """
    reached = [scores >= level if higher_is_better else scores <= level for level in thresholds]
    return [interval(each.astype(float)) for each in reached]


def thresholds(pools: Sequence[Array], count: int = 41) -> Array:
    """Levels at which profiles are worth comparing: from the 2nd to the 98th percentile of all cells together."""
    values = np.concatenate([pool.ravel() for pool in pools])
    return np.unique(np.quantile(values, np.linspace(0.02, 0.98, count)))
