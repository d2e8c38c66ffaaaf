"""The bootstrap over test tasks, for the seeds at hand: a check of the other interval that assumes no normality.

Resampling three seeds says too little about a fourth: where seeds matter, the bootstrap over seeds and tasks
covers 80% at 3 seeds and 90% at 10 (`benchmarks/coverage.py` measures it). The report's intervals are
therefore those of `statistics`; the paired bootstrap over tasks stands beside them in tables/pairs.csv.
All pairs of a suite and protocol meet the same draws, whose generator is seeded by their names alone.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from metabench.report.statistics.intervals import Array

DRAWS = 2000


@functools.lru_cache(maxsize=2)
def draws(names: tuple[str, ...], tasks: int) -> Array:
    """How often each task is drawn [DRAWS, tasks]; the same for the same names, whatever else is drawn elsewhere."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.multinomial(tasks, np.full(tasks, 1 / tasks), size=DRAWS).astype(float)


def over_tasks(scores: Array, names: tuple[str, ...], level: float = 0.95) -> tuple[float, float]:
    """A percentile interval for the mean of `scores` [seeds, tasks], tasks drawn again and seeds kept as they are.

    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. `names` seed the draws.

    Examples:
        >>> low, high = over_tasks(np.array([[0.0, 1.0] * 50]), ("my suite",))
        >>> round(low, 1), round(high, 1)
        (0.4, 0.6)
    """
    of_task = scores.mean(0)
    means = draws(names, len(of_task)) @ of_task / len(of_task)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
