"""Average ranks over blocks: the test tasks of one suite, or the suites of one report.

Friedman's test asks whether any algorithm ranks otherwise than by chance; Nemenyi's critical difference is how
far two average ranks must be apart (Demsar, JMLR 7, 2006). Whether two algorithms are told apart by their ranks
depends on which others take part (Benavoli, Corani & Mangili, JMLR 17, 2016), so pairs are judged on their own:
within a suite by their paired differences over seeds and tasks (`pairs`), over suites by Wilcoxon's signed
ranks; both with Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon

from metabench.report.analysis.pairs import ALPHA, Pair, comparison_groups, holm
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.intervals import Array, stack

FEWEST_SUITES = 6
"""Of which the most extreme outcome of Wilcoxon's test has p < 0.05: 2 / 2^6 = 0.03."""


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
    """From `gains` [blocks, algorithms], higher is better; ties share the mean of their ranks."""
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


def over_tasks(members: Sequence[Configuration]) -> Ranking:
    """Of one arena: each task a block, its scores the means over the seeds. It speaks of these seeds alone."""
    tasks = min(len(scores) for group in members for scores in group.final.values())
    sign = [1.0 if group.higher_is_better else -1.0 for group in members]
    columns = [each * stack(group.final, tasks).mean(0) for each, group in zip(sign, members)]
    return ranking([group.algorithm for group in members], np.stack(columns, 1))


def over_suites(groups: Sequence[Configuration]) -> tuple[Ranking, dict[tuple[str, str], float]] | None:
    """Each suite a block (under its first protocol), for the algorithms that all have; None below two of either.

    With it, p values of Wilcoxon's signed-rank test for every two, after Holm's correction.
    """
    by_suite: dict[str, list[Configuration]] = {}
    for (suite, _), members in comparison_groups(groups).items():
        by_suite.setdefault(suite, members)
    blocks = [{group.algorithm: gain(group) for group in members} for members in by_suite.values()]
    names = sorted(set.intersection(*map(set, blocks))) if blocks else []
    if len(blocks) < 2 or len(names) < 2:
        return None
    gains = np.array([[block[name] for name in names] for block in blocks])
    return ranking(names, gains), signed_ranks(names, gains)


def gain(group: Configuration) -> float:
    """The mean score, higher is better."""
    score = group.score()
    return (score.mean if score else math.nan) * (1 if group.higher_is_better else -1)


def signed_ranks(names: Sequence[str], gains: Array) -> dict[tuple[str, str], float]:
    """(first, second) -> p of Wilcoxon's test after Holm's correction over all pairs."""
    couples = list(combinations(range(len(names)), 2))
    values = [signed_rank(gains[:, a] - gains[:, b]) for a, b in couples]
    return {(names[a], names[b]): p for (a, b), p in zip(couples, holm(values))}


def signed_rank(gaps: Array) -> float:
    """Wilcoxon's p; 1 where nothing differs."""
    return float(wilcoxon(gaps).pvalue) if gaps.any() else 1.0


def together(names: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """The longest runs (first, last) of `names`, in their order, of which no two are told apart."""
    apart = {frozenset((pair.first.algorithm, pair.second.algorithm)) for pair in pairs if pair.significant}
    return runs(names, apart)


def runs(names: Sequence[str], apart: set[frozenset[str]]) -> list[tuple[int, int]]:
    """The same from the pairs that are told apart."""
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and not any(
            frozenset((names[last + 1], each)) in apart for each in names[first : last + 1]
        ):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
