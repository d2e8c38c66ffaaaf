"""How often a nominal 95% interval over seeds and tasks holds the truth, in simulation where that is known.

    python -m benchmarks.coverage          # some minutes; writes benchmarks/results/coverage.csv and families.csv

Scores are mean + seed + task + error, as in `report.statistics.intervals`, whose code is what is measured. For
normal effects the mean squares are independent and chi-squared, so these are drawn and not the scores, and what
the mean's own chance adds is integrated: the figures are good to 0.1%. Other laws are drawn cell by cell. The
report's interval stands beside Satterthwaite's, Banerjee's and the bootstrap over seeds and tasks. How often all
intervals of several algorithms hold at once is measured in `benchmarks.families`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import norm

from benchmarks import families
from metabench.report.statistics.intervals import Array, mean_squares, spread

SEEDS = (2, 3, 5, 10)
TASKS = (20, 60, 600)
SHARES = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0)
"""Of the variance of the mean, what the seeds' effects make."""
ERRORS = (0.1, 1.0, 25.0)
"""Variance of a cell's own chance, in units of the variance between tasks."""
OUT = Path(__file__).parent / "results"

Halves = Callable[[Array, int, int], Array]
"""Mean squares [3, ...], seeds, tasks -> standardised half-widths [...]."""


def ours(squares: Array, seeds: int, tasks: int) -> Array:
    """The report's."""
    variance, degrees = spread(squares, seeds, tasks)
    return stdtrit(degrees, 0.975) * np.sqrt(variance)


def satterthwaite(squares: Array, seeds: int, tasks: int) -> Array:
    """Welch-Satterthwaite degrees of freedom; the variance is no less than the error alone makes."""
    freedom = np.array([seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1)])[:, None]
    total = np.maximum(squares[0] + squares[1] - squares[2], squares[2])
    degrees = np.maximum(total**2 / (squares**2 / freedom).sum(0), 1)
    return stdtrit(degrees, 0.975) * np.sqrt(total / (seeds * tasks))


def banerjee(squares: Array, seeds: int, tasks: int) -> Array:
    """Each part with Student's quantile of its own, in quadrature."""
    of_task = np.maximum(squares[1] - squares[2], 0)
    parts = stdtrit(seeds - 1, 0.975) ** 2 * squares[0] + stdtrit(tasks - 1, 0.975) ** 2 * of_task
    return np.sqrt(parts / (seeds * tasks))


METHODS: dict[str, Halves] = {"report": ours, "Satterthwaite": satterthwaite, "Banerjee": banerjee}


def effects(seeds: int, tasks: int, share: float, error: float) -> tuple[float, float, float]:
    """The variances of seed, task and error for which the seeds make `share` of the variance of the mean."""
    if share == 1:
        return 1.0, 0.0, 1e-9
    rest = 1 / tasks + error / (seeds * tasks)
    return seeds * rest * share / (1 - share), 1.0, error


def normal(draws: int, seeds: int, tasks: int) -> Iterator[dict[str, Any]]:
    """Every method's coverage for normal effects, by share and error."""
    rng = np.random.default_rng([seeds, tasks])
    freedom = np.array([seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1)])
    chance = np.stack([rng.chisquare(each, draws) / each for each in freedom])
    for share, error in itertools.product(SHARES, ERRORS):
        seed, task, own = effects(seeds, tasks, share, error)
        expected = np.array([tasks * seed + own, seeds * task + own, own])
        deviation = np.sqrt((expected[0] + expected[1] - own) / (seeds * tasks))
        for name, halves in METHODS.items():
            half = halves(expected[:, None] * chance, seeds, tasks)
            covered = float((2 * norm.cdf(half / deviation) - 1).mean())
            yield row("normal", name, seeds, tasks, share, error, covered)


def row(
    law: str, method: str, seeds: int, tasks: int, share: float, error: float, covered: float
) -> dict[str, Any]:  # fmt: skip
    return {
        "law": law, "method": method, "seeds": seeds, "tasks": tasks, "seed_share": share, "error": error,
        "coverage": 100 * covered,
    }  # fmt: skip


def heavy(rng: np.random.Generator, shape: tuple[int, int, int], variances: tuple[float, float, float]) -> Array:
    """Task effects and errors with Student's t of 3 degrees of freedom, seeds normal; the true mean is 0."""
    draws, seeds, tasks = shape
    seed, task, own = np.sqrt(variances)
    return (
        seed * rng.normal(size=(draws, seeds, 1))
        + task * rng.standard_t(3, (draws, 1, tasks)) / np.sqrt(3)
        + own * rng.standard_t(3, shape) / np.sqrt(3)
    )


def skewed(rng: np.random.Generator, shape: tuple[int, int, int], variances: tuple[float, float, float]) -> Array:
    """Most seeds alike and a few much worse: seed effects minus an exponential; the true mean is 0."""
    draws, seeds, tasks = shape
    seed, task, own = np.sqrt(variances)
    return (
        seed * (1 - rng.exponential(size=(draws, seeds, 1)))
        + task * rng.normal(size=(draws, 1, tasks))
        + own * rng.normal(size=shape)
    )


def even(rng: np.random.Generator, shape: tuple[int, int, int], variances: tuple[float, float, float]) -> Array:
    """Seeds spread evenly between a lowest and a highest; the true mean is 0."""
    draws, seeds, tasks = shape
    seed, task, own = np.sqrt(variances)
    return (
        seed * rng.uniform(-(3**0.5), 3**0.5, (draws, seeds, 1))
        + task * rng.normal(size=(draws, 1, tasks))
        + own * rng.normal(size=shape)
    )


def accuracies(rng: np.random.Generator, shape: tuple[int, int, int], variances: tuple[float, float, float]) -> Array:
    """Accuracies, of 15 query points a task, minus 60%; seed and task shift the chance of each to be right."""
    draws, seeds, tasks = shape
    seed = np.clip(min(0.1 * np.sqrt(variances[0]), 0.05) * rng.normal(size=(draws, seeds, 1)), -0.2, 0.2)
    task = 0.1 * np.sqrt(variances[1]) * rng.uniform(-(3**0.5), 3**0.5, (draws, 1, tasks))
    return rng.binomial(15, 0.6 + seed + task) / 15 - 0.6


LAWS = {"heavy tails": heavy, "accuracies": accuracies, "even seeds": even, "skewed seeds": skewed}


def drawn(law: str, draws: int, seeds: int, tasks: int) -> Iterator[dict[str, Any]]:
    """The report's coverage for another law, by share and error, drawn cell by cell."""
    rng = np.random.default_rng([seeds, tasks, *law.encode()])
    for share, error in itertools.product(SHARES[::3], (1.0,) if law == "accuracies" else ERRORS[:2]):
        variances = effects(seeds, tasks, share, error)
        cells = LAWS[law](rng, (draws, seeds, tasks), variances)
        half = ours(mean_squares(cells), seeds, tasks)
        yield row(law, "report", seeds, tasks, share, error, float((np.abs(cells.mean((1, 2))) <= half).mean()))


def bootstrap(seeds: int, tasks: int, draws: int = 400, resamples: int = 400) -> Iterator[dict[str, Any]]:
    """The percentile bootstrap over seeds and tasks (Owen, Annals of Applied Statistics 1, 2007), normal effects."""
    rng = np.random.default_rng([seeds, tasks])
    for share in (0.0, 0.5, 0.9):
        seed, task, own = np.sqrt(effects(seeds, tasks, share, 1.0))
        covered = 0
        for _ in range(draws):
            cells = seed * rng.normal(size=(seeds, 1)) + task * rng.normal(size=tasks)
            cells = cells + own * rng.normal(size=(seeds, tasks))
            of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
            of_tasks = rng.multinomial(tasks, np.full(tasks, 1 / tasks), resamples)
            means = ((of_seeds @ cells) * of_tasks).sum(1) / (seeds * tasks)
            low, high = np.quantile(means, (0.025, 0.975))
            covered += low <= 0 <= high
        yield row("normal", "bootstrap", seeds, tasks, share, 1.0, covered / draws)


def measure(draws: int = 20_000) -> pd.DataFrame:
    """A row per law, method and design."""
    rows = [each for seeds, tasks in itertools.product(SEEDS, TASKS) for each in normal(draws, seeds, tasks)]
    for seeds in SEEDS:
        rows += bootstrap(seeds, 60)
    for law, seeds in itertools.product(LAWS, SEEDS):
        rows += drawn(law, draws // 4, seeds, 100)
    return pd.DataFrame(rows)


def table(frame: pd.DataFrame) -> str:
    """The least and the most coverage of every law and method, by the number of seeds, as Markdown."""
    found = frame.groupby(["law", "method", "seeds"], sort=False)["coverage"].agg(["min", "max"])
    text = (found["min"].map("{:.1f}".format) + "–" + found["max"].map("{:.1f}".format)).unstack("seeds")
    lines = ["| effects | interval | " + " | ".join(f"{seeds} seeds" for seeds in text.columns) + " |"]
    lines.append("|---|---|" + "---|" * len(text.columns))
    for law, method in dict.fromkeys(zip(frame["law"], frame["method"])):
        lines.append(f"| {law} | {method} | " + " | ".join(text.loc[(law, method)]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    OUT.mkdir(parents=True, exist_ok=True)
    frames = {"coverage": measure().round({"coverage": 2}), "families": families.measure()}
    for name, frame in frames.items():
        frame.to_csv(OUT / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
        print(f"{TABLES[name](frame)}\n")
    print(f"written to {OUT}; the tables are those of docs/statistics.md")


TABLES = {"coverage": table, "families": families.table}


if __name__ == "__main__":
    main()
