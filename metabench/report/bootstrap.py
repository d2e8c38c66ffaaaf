"""The bootstrap over test tasks, for the seeds at hand: a check of the other interval that assumes no normality.

Resampling three seeds says too little about a fourth: where seeds matter, the bootstrap over seeds and tasks
covers 80% at 3 seeds and 90% at 10 (`benchmarks/coverage.py` measures it). The report's intervals are
therefore those of `statistics`; the paired bootstrap over tasks stands beside them in tables/pairs.csv.
Every interval has a generator of its own, seeded by the names of what is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from metabench.report.statistics import Array

DRAWS, AT_ONCE = 2000, 100


def generator(names: Iterable[str]) -> np.random.Generator:
    """Always the same one for the same names, whatever else is drawn elsewhere."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def over_tasks(scores: Array, rng: np.random.Generator, level: float = 0.95) -> tuple[float, float]:
    """A percentile interval for the mean of `scores` [seeds, tasks], tasks drawn again and seeds kept as they are.

    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    of_task = scores.mean(0)
    parts = (of_task[rng.integers(len(of_task), size=(AT_ONCE, len(of_task)))] for _ in range(DRAWS // AT_ONCE))
    low, high = np.quantile(np.concatenate([part.mean(1) for part in parts]), ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
