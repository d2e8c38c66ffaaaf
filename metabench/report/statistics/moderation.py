"""What the variances of all pairs say of one: three seeds show little of how a difference varies, all pairs more.

Smyth (Statistical Applications in Genetics and Molecular Biology 3(1), 2004, doi:10.2202/1544-6115.1027) takes true
variances for draws of one law, d0 s0^2 / chi-squared of d0 degrees of freedom. Then

    (d0 s0^2 + d s^2) / (d0 + d)        with d0 + d degrees of freedom

stands for a variance s^2 that has d of its own. Student's t is then less extreme, and a variance that is tiny by
chance deceives nobody. s0^2 and d0 come from the mean and the variance of the logarithms of all s^2: what these
vary beyond chance is how the true ones differ. Where they differ much, as when one algorithm diverged, d0 is near
0: nothing is shared.

With few algorithms that spread is hardly known, and pairs that have an algorithm in common are no independent
draws. So d0 comes from the upper 90% limit of the spread, as if there were only as many variances as algorithms;
s0^2 comes from the spread as estimated, for with a small d0 it would be too small. `benchmarks/coverage.py`
measures what that gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma
from scipy.stats import chi2

Array = NDArray[np.float64]
MIN_ALGORITHMS = 3
"""With two there is one pair, and nobody to learn from."""
DOUBT = 0.1
"""How often the spread of the true variances is larger than it is taken to be, were their logarithms normal."""
LEAST_SPREAD = 1e-6
"""Of log variances: below it they are the same."""
LEAST_VARIANCE = 1e-5
"""Of a pair, in units of the median of all: two algorithms that do the same have none, and no logarithm."""


@dataclass(frozen=True)
class Prior:
    """A variance that is known beforehand, and how well; arrays for many at once."""

    degrees: float | Array
    variance: float | Array

    def moderate(self, variance: Array, degrees: int) -> Array:
        """The variance that stands for one with so many degrees of freedom; it has `self.degrees` more."""
        return (self.degrees * self.variance + degrees * variance) / (self.degrees + degrees)


NO_PRIOR = Prior(0.0, 0.0)


def shared_prior(variances: Array, degrees: Array, algorithms: int) -> Prior:
    """From the variances [..., pairs] of all pairs of so many algorithms, with `degrees` [pairs] of freedom each.

    Examples:
        >>> alike = shared_prior(np.array([0.9, 1.3, 1.1, 0.7, 1.0, 1.2]), np.array([9] * 6), algorithms=4)
        >>> unlike = shared_prior(np.array([0.9, 9.0, 0.1, 90.0, 1.0, 30.0]), np.array([9] * 6), algorithms=4)
        >>> f"{alike.degrees > 100}, {unlike.degrees:.1f}"
        'True, 0.4'
    """
    median = np.median(variances, -1, keepdims=True) if variances.size else np.zeros(1)
    if algorithms < MIN_ALGORITHMS or not (median > 0).all():
        return NO_PRIOR
    logs = np.log(np.maximum(variances, LEAST_VARIANCE * median)) - log_bias(degrees)
    seen, chance, units = logs.var(-1, ddof=1), polygamma(1, degrees / 2).mean(), algorithms - 1
    known = prior_degrees(seen * units / chi2.ppf(DOUBT, units) - chance)
    return Prior(known, np.exp(logs.mean(-1) + log_bias(prior_degrees(seen - chance))))


def log_bias(degrees: Array) -> Array:
    """The mean of log(chi-squared / degrees)."""
    bias: Array = digamma(degrees / 2) - np.log(degrees / 2)
    return bias


def prior_degrees(spread: Array) -> Array:
    """d0 for which trigamma(d0 / 2) is this variance of logarithms, by the Newton steps of Smyth's appendix."""
    spread = np.maximum(spread, LEAST_SPREAD)
    half = 0.5 + 1 / spread
    for _ in range(12):
        slope = polygamma(1, half)
        half = half + slope * (1 - slope / spread) / polygamma(2, half)
    return np.asarray(2 * half)
