"""How large a difference is beside the spread of the scores."""

from __future__ import annotations

import math

from metabench.report.statistics.intervals import Array


def cohens_d(a: Array, b: Array) -> float:
    """Cohen's d: the difference of the means over the pooled standard deviation of the scores, any shape.

    0.2 is called small, 0.5 medium and 0.8 large (Cohen 1988). The spread is that of the tasks, so pairing does not
    enter: an effect may be small and sure. NaN where nothing spreads.

    Examples:
        >>> round(cohens_d(np.array([0.8, 0.9, 1.0]), np.array([0.7, 0.8, 0.9])), 3)
        1.0
    """
    if min(a.size, b.size) < 2:
        return math.nan
    pooled = ((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1)) / (a.size + b.size - 2)
    return float((a.mean() - b.mean()) / math.sqrt(pooled)) if pooled > 0 else math.nan
