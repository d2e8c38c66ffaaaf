"""Two algorithms or many: how often one does better, and average ranks over blocks.

Friedman's test asks whether any algorithm ranks otherwise than by chance; Nemenyi's critical difference is how
far two average ranks must be apart (Demsar, JMLR 7, 2006). Whether two algorithms differ significantly by their ranks
depends on which others take part (Benavoli, Corani & Mangili, JMLR 17, 2016), so pairs are judged on their own:
within a suite by their paired differences over seeds and tasks (`simultaneous`), over suites by Wilcoxon's signed
ranks with Holm's correction (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon

from metabench.report.statistics.intervals import Array, Interval, interval
from metabench.report.statistics.simultaneous import ALPHA


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted so that the chance of any false finding among them is at most ALPHA at ALPHA.

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(values, kind="stable")
    steps = np.array(values, dtype=float)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def probability_of_improvement(cells: Array, *, higher_is_better: bool) -> Interval:
    """P(first better than second) on a task, ties half, from differences first - second [seeds, tasks].

    Agarwal et al. 2021, section 4.3.

    Examples:
        >>> probability_of_improvement(np.array([[0.1, 0.2, 0.0, -0.1]]), higher_is_better=True).mean
        0.625
    """
    sign = 1.0 if higher_is_better else -1.0
    return interval(np.where(np.isnan(cells), np.nan, (np.sign(sign * cells) + 1) / 2))


@dataclass(frozen=True)
class Ranking:
    """Algorithms, best average rank first."""

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    p: float
    """Friedman's; NaN for two algorithms, where Wilcoxon's is the test."""
    critical: float
    """Nemenyi's critical difference at ALPHA."""


def ranking(names: Sequence[str], gains: Array) -> Ranking:
    """From `gains` [blocks, algorithms], higher is better; ties share the mean of their ranks.

    Examples:
        >>> found = ranking(["a", "b"], np.array([[0.5, 0.7], [0.4, 0.9], [0.6, 0.6]]))
        >>> found.names, [round(rank, 2) for rank in found.ranks]
        (('b', 'a'), [1.17, 1.83])
    """
    blocks, count = gains.shape
    means = rankdata(-gains, axis=1).mean(0)
    order = sorted(range(count), key=lambda index: (means[index], names[index]))
    same = bool((gains == gains[:, :1]).all())
    p = float(friedmanchisquare(*gains.T).pvalue) if count > 2 and blocks > 1 and not same else math.nan
    return Ranking(
        tuple(names[index] for index in order),
        tuple(float(means[index]) for index in order),
        blocks,
        p,
        nemenyi(count) * math.sqrt(count * (count + 1) / (6 * blocks)),
    )


@lru_cache
def nemenyi(count: int) -> float:
    """q for `count` algorithms: the studentised range's quantile for infinite degrees of freedom, over sqrt(2)."""
    return float(studentized_range.ppf(1 - ALPHA, count, math.inf)) / math.sqrt(2)


def signed_ranks(names: Sequence[str], gains: Array) -> dict[tuple[str, str], float]:
    """(first, second) -> p of Wilcoxon's test over blocks, after Holm's correction over all pairs.

    Examples:
        >>> signed_ranks(["a", "b"], np.array([[0.1, 0.2]] * 6))
        {('a', 'b'): 0.03125}
    """
    couples = list(combinations(range(len(names)), 2))
    values = [signed_rank(gains[:, a] - gains[:, b]) for a, b in couples]
    return {(names[a], names[b]): p for (a, b), p in zip(couples, holm(values))}


def signed_rank(differences: Array) -> float:
    """Wilcoxon's p; 1 where nothing differs."""
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0
