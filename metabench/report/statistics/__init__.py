"""Statistics of scores [seeds, tasks], as functions of arrays: what a report computes, for a notebook too.

Every algorithm of a suite meets the same test tasks, so a cell [seed, task] of one is paired with that of another.

Examples:
    >>> import numpy as np
    >>> from metabench.report import statistics
    >>> noise = np.random.default_rng(0).normal(size=(2, 3, 100))
    >>> ours, theirs = 0.9 + 0.01 * noise[0], 0.8 + 0.01 * noise[1]
    >>> found = statistics.interval(ours - theirs)
    >>> f"{found.mean:.2f} ± {found.half:.3f}, p = {found.p:.1g}"
    '0.10 ± 0.003, p = 6e-05'
"""

from metabench.report.statistics.aggregates import interquartile_mean, optimality_gap, profile, within_seeds
from metabench.report.statistics.bootstrap import over_tasks
from metabench.report.statistics.comparisons import Ranking, holm, probability_of_improvement, ranking, signed_ranks
from metabench.report.statistics.effects import cohens_d
from metabench.report.statistics.intervals import Interval, difference, interval, paired, stack
from metabench.report.statistics.moderation import Prior
from metabench.report.statistics.power import Components, components, detectable, seeds_needed, tasks_needed
from metabench.report.statistics.simultaneous import (
    Behind,
    behind_best,
    corrected,
    corrected_p,
    pairwise,
    seed_prior,
)

__all__ = [
    "Behind",
    "Components",
    "Interval",
    "Prior",
    "Ranking",
    "behind_best",
    "cohens_d",
    "components",
    "corrected",
    "corrected_p",
    "detectable",
    "difference",
    "holm",
    "interquartile_mean",
    "interval",
    "optimality_gap",
    "over_tasks",
    "paired",
    "pairwise",
    "probability_of_improvement",
    "profile",
    "ranking",
    "seed_prior",
    "seeds_needed",
    "signed_ranks",
    "stack",
    "tasks_needed",
    "within_seeds",
]
