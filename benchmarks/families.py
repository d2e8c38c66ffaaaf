"""How often all intervals of a family of comparisons hold at once, in simulation: a part of `benchmarks.coverage`.

Three to seventeen algorithms, whose seeds vary alike or not, meet the same tasks. The intervals of all pairs, and of
how far each is behind the best, shall hold at once in 95% of repetitions. Beside the report's stand those without
what pairs share (`alone`), and those that were reported `before`: the degrees of freedom of one 95% interval at every
level, and Hsu's comparison with the best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from metabench.report.statistics.intervals import Array, halves, spread
from metabench.report.statistics.moderation import NO_PRIOR, Prior, shared_prior
from metabench.report.statistics.simultaneous import ALPHA, limits

SEEDS = (2, 3, 5, 10)
ALGORITHMS = (3, 4, 9, 17)
SHARES = (0.9, 0.999)
"""Of the variance of a mean, what the seeds' effects make, where the algorithms are alike."""
TASKS = 20
PAIRS = 75_000
"""That are drawn for one design, at most."""
METHODS = ("report", "alone", "before")


class Law(NamedTuple):
    """Of the seeds' standard deviations, and of the effects."""

    spread: float = 0.0
    """The standard deviation of the logarithm of those of the algorithms."""
    last: float = 1.0
    """That of the last algorithm, in units of the others'."""
    heavy: bool = False
    """Whether effects follow Student's t with 5 degrees of freedom."""
    common: float = 0.0
    """Of the variance of a seed's effect, what all algorithms share at one seed."""


LAWS = {
    "alike": Law(),
    "log SD 0.5": Law(0.5),
    "log SD 1.5": Law(1.5),
    "one 10 times": Law(last=10),
    "one 100 times": Law(last=100),
    "heavy tails": Law(0.5, heavy=True),
    "seeds in common": Law(0.5, common=0.5),
}
MEANS = {"one ahead": 1, "two tied": 2}
"""How many are the best; the others are behind by 9 standard errors of a difference between alike algorithms."""


def family(law: str, seeds: int, algorithms: int, share: float, draws: int = 0) -> Iterator[dict[str, Any]]:
    """A row per method: how often all intervals hold, and the median of half-widths over their standard errors."""
    count, several = algorithms, LAWS[law]
    draws = draws or min(1000, PAIRS // math.comb(count, 2))
    rng = np.random.default_rng([seeds, count, int(1000 * share), *law.encode()])
    rest = (1 + 1 / seeds) / TASKS
    deviations = np.sqrt(seeds * rest * share / (1 - share)) * np.exp(
        several.spread * rng.normal(size=(draws, count))
    )
    deviations[:, -1] *= several.last
    squares, means, errors = simulated(rng, several, deviations, seeds)
    unit = np.sqrt(2 * rest / (1 - share))
    for method in METHODS:
        prior = NO_PRIOR
        if method == "report":
            known = shared_prior(squares[0] / TASKS, np.full(squares.shape[-1], seeds - 1), count)
            prior = Prior(*(np.reshape(value, (-1, 1)) for value in (known.degrees, known.variance)))
        pairs = squares.shape[-1]
        half = widths(method, squares, seeds, prior, pairs)
        nearer = widths(method, squares, seeds, prior, count - 1) if method == "before" else half
        row = {"variances": law, "method": method, "algorithms": count, "seeds": seeds, "seed_share": share}
        held = {"pairs": (np.abs(differences(means)) <= half).all(1).mean()}
        for name, best in MEANS.items():
            true = -9 * unit * (np.arange(count) >= best)
            low, high = (hsu if method == "before" else behind_best)(means + true, nearer)
            held[name] = ((low <= true + 1e-9) & (true <= high + 1e-9)).all(1).mean()
        yield {**row, **{name: 100 * float(value) for name, value in held.items()}, "width": np.median(half / errors)}


def simulated(rng: np.random.Generator, law: Law, deviations: Array, seeds: int) -> tuple[Array, Array, Array]:
    """Mean squares [3, draws, pairs] of differences, means [draws, algorithms], standard errors [draws, pairs]."""

    def noise(*shape: int) -> Array:
        return rng.standard_t(5, shape) / np.sqrt(5 / 3) if law.heavy else rng.normal(size=shape)

    draws, count = deviations.shape
    own = np.sqrt(1 - law.common) * noise(draws, count, seeds, 1)
    seed = deviations[..., None, None] * (own + np.sqrt(law.common) * noise(draws, 1, seeds, 1))
    cells = seed + noise(draws, count, 1, TASKS) + noise(draws, count, seeds, TASKS)
    means = cells.mean((2, 3))
    of_seed = cells.mean(3, keepdims=True) - means[..., None, None]
    of_task = cells.mean(2, keepdims=True) - means[..., None, None]
    rest = cells - means[..., None, None] - of_seed - of_task
    sizes = (TASKS / (seeds - 1), seeds / (TASKS - 1), 1 / ((seeds - 1) * (TASKS - 1)))
    squares = np.stack([size * apart(part) for size, part in zip(sizes, (of_seed, of_task, rest))])
    first, second = np.triu_indices(count, 1)
    a, b = deviations[:, first], deviations[:, second]
    variance = a**2 + b**2 - 2 * law.common * a * b
    return squares, means, np.sqrt(variance / seeds + 2 * (1 + 1 / seeds) / TASKS)


def apart(parts: Array) -> Array:
    """The squared distance [draws, pairs] between every two of `parts` [draws, algorithms, ...]."""
    flat = parts.reshape(*parts.shape[:2], -1)
    products = flat @ flat.swapaxes(1, 2)
    own = np.einsum("dii->di", products)
    first, second = np.triu_indices(flat.shape[1], 1)
    distances: Array = np.maximum((own[:, :, None] + own[:, None] - 2 * products)[:, first, second], 0)
    return distances


def widths(method: str, squares: Array, seeds: int, prior: Prior, comparisons: int) -> Array:
    """Half-widths [draws, pairs] that shall hold with so many."""
    level = (1 - ALPHA) ** (1 / comparisons)
    if method != "before":
        return halves(squares, seeds, TASKS, prior, level)[0]
    variance, degrees = spread(squares, seeds, TASKS)
    before: Array = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(variance)
    return before


def differences(means: Array) -> Array:
    """Of every two [draws, pairs]."""
    first, second = np.triu_indices(means.shape[1], 1)
    return means[:, first] - means[:, second]


def square(values: Array, count: int, sign: int) -> Array:
    """[draws, pairs] as [draws, algorithms, algorithms]."""
    first, second = np.triu_indices(count, 1)
    whole = np.zeros((len(values), count, count))
    whole[:, first, second], whole[:, second, first] = values, sign * values
    return whole


def behind_best(means: Array, half: Array) -> tuple[Array, Array]:
    """The report's limits."""
    count = means.shape[1]
    leader = means == means.max(1, keepdims=True)
    return limits(square(differences(means), count, -1), square(half, count, 1), leader)


def hsu(means: Array, half: Array) -> tuple[Array, Array]:
    """The least and the most against whoever may be the best, each algorithm's comparisons a family of their own."""
    gains, reach = square(differences(means), means.shape[1], -1), square(half, means.shape[1], 1)
    maybe = (~(gains + reach < 0).any(-1) | (means == means.max(1, keepdims=True)))[:, None]
    low, high = np.where(maybe, gains - reach, np.inf).min(-1), np.where(maybe, gains + reach, -np.inf).max(-1)
    return np.minimum(low, 0), np.minimum(high, 0)


def measure() -> pd.DataFrame:
    """A row per law, design and method."""
    designs = itertools.product(LAWS, SEEDS, ALGORITHMS, SHARES)
    return pd.DataFrame([row for design in designs for row in family(*design)])


def table(frame: pd.DataFrame) -> str:
    """Of every law and method, by seeds: the least coverage of all pairs and of "behind the best", and the width."""
    lines = [f"| seeds vary | interval | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |"]
    lines.append("|---|---|" + "---|" * len(SEEDS))
    for (law, method), rows in frame.groupby(["variances", "method"], sort=False):
        texts = []
        for _, some in rows.groupby("seeds"):
            wide = some[some["algorithms"] == 9]["width"].mean()
            behind = some[list(MEANS)].min(axis=None)
            texts.append(f"{some['pairs'].min():.0f}, {behind:.0f}; {wide:.3g}")
        lines.append(f"| {law} | {method} | " + " | ".join(texts) + " |")
    return "\n".join(lines)
