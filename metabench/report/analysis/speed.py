"""What training and adapting cost: seconds and updates to a target score, scores at equal cost, tasks a second.

Everything is taken from the validation curves, under the first protocol that an algorithm was tested with, from
the trials that can be counted. Seconds are those of meta-updates: no sampling, no evaluation.

The targets of a suite are set by its own data: shares of the way from the best score before training to the
best after, each a mean over the seeds of one algorithm. A trial reaches a target at its first validation that
is as good or better; nothing is interpolated, so a time is late by one gap between validations at most. One that
never is has missed it: its time is NaN, and counts as longer than any other in a median.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.records.record import Record, ValidationPoint
from metabench.report.collect.configurations import Configuration, first_of_each

SHARES = (0.5, 0.75, 0.9)
"""Of the way from untrained to best."""


def tables(groups: Sequence[Configuration]) -> dict[str, pd.DataFrame]:
    """Name -> table: `speed`, `targets` and `equal_time`; no table where it would have no row."""
    frames = {"speed": table(groups), "targets": targets(groups), "equal_time": equal_time(groups)}
    return {name: frame for name, frame in frames.items() if len(frame)}


def table(groups: Sequence[Configuration]) -> pd.DataFrame:
    """A row per suite and algorithm; times and scores are means over seeds, times to a target medians."""
    rows = []
    for _, members in by_suite(groups):
        limits = least(members)
        rows += [row(group, members, limits) for group in members]
    return pd.DataFrame(rows)


def row(group: Configuration, members: Sequence[Configuration], limits: tuple[float, float]) -> dict[str, Any]:
    """One algorithm beside the others of its suite."""
    counted, seconds, updates = group.scored_records, *limits
    values: dict[str, Any] = {
        "suite": group.suite,
        "algorithm": group.algorithm,
        "metric": group.metric,
        "seeds": len(counted),
        "updates": mean(float(spent_updates(record)) for record in counted),
        "train_seconds": mean(record.train_seconds for record in counted),
        "updates_per_second": mean(rate(record, 1) for record in counted),
        "tasks_per_second": tasks_per_second(group),
        "adapt_ms": mean(record.adapt_ms for record in counted),
        "peak_memory_mb": peak_memory(group),
        "validation": best_within(group),
        "equal_seconds": seconds,
        "validation_at_equal_seconds": best_within(group, seconds=seconds),
        "equal_updates": updates,
        "validation_at_equal_updates": best_within(group, updates=updates),
    }
    for share, target in targets_of(members).items():
        hits, percent = [reached(record, target) for record in validated(group)], round(100 * share)
        values |= {
            f"target_{percent}": target,
            f"reached_{percent}": sum(point is not None for point in hits),
            f"seconds_to_{percent}": median(point.train_seconds if point else None for point in hits),
            f"updates_to_{percent}": median(point.update if point else None for point in hits),
        }
    return values


def targets(groups: Sequence[Configuration]) -> pd.DataFrame:
    """A row per suite, algorithm, target and seed: seconds and updates to it, NaN for a miss."""
    rows = []
    for suite, members in by_suite(groups):
        for share, target in targets_of(members).items():
            for group in members:
                for record in validated(group):
                    point = reached(record, target)
                    spent_there = (point.train_seconds, point.update) if point else (math.nan, math.nan)
                    seed, hit = record.trial.seed, point is not None
                    rows.append((suite, group.algorithm, share, target, seed, hit, *spent_there))
    columns = ["suite", "algorithm", "share", "target", "seed", "reached", "seconds", "updates"]
    return pd.DataFrame(rows, columns=columns)


def equal_time(groups: Sequence[Configuration]) -> pd.DataFrame:
    """For each time that a trained algorithm of a suite took: the best validation score of each within it."""
    rows = []
    for suite, members in by_suite(groups):
        for clock in filter(is_trained, members):
            seconds, _ = spent(clock)
            for group in members:
                best = best_within(group, seconds=seconds)
                rows.append((suite, clock.algorithm, seconds, group.algorithm, best))
    return pd.DataFrame(rows, columns=["suite", "time_of", "seconds", "algorithm", "validation"])


def by_suite(groups: Sequence[Configuration]) -> Iterator[tuple[str, list[Configuration]]]:
    """Each suite with the algorithms that have a validation there."""
    for suite in sorted({group.suite for group in groups}):
        yield suite, once(group for group in groups if group.suite == suite)


def once(groups: Iterable[Configuration]) -> list[Configuration]:
    """One configuration for each algorithm that has a validation."""
    return first_of_each(group for group in groups if validated(group))


def validated(group: Configuration) -> tuple[Record, ...]:
    """The trials with a curve."""
    return tuple(record for record in group.scored_records if record.curve)


def is_trained(group: Configuration) -> bool:
    return any(len(record.curve) > 1 for record in group.scored_records)


def targets_of(members: Sequence[Configuration]) -> dict[float, float]:
    """Share of the way -> score, for the algorithms of one suite; none where training made nothing better."""
    sign = 1 if members and members[0].higher_is_better else -1
    before = [mean(record.curve[0].score for record in validated(group)) for group in members]
    after = [best_within(group) for group in members if is_trained(group)]
    if not after or not (low := max(sign * value for value in before)) < (high := max(sign * v for v in after)):
        return {}
    return {share: sign * (low + share * (high - low)) for share in SHARES}


def reached(record: Record, target: float) -> ValidationPoint | None:
    """The first validation that is as good as the target."""
    sign = 1 if record.higher_is_better else -1
    return next((point for point in record.curve if sign * point.score >= sign * target), None)


def least(members: Sequence[Configuration]) -> tuple[float, float]:
    """The fewest seconds and the fewest updates that a trained algorithm took; NaN where none is trained."""
    costs = [spent(group) for group in members if is_trained(group)]
    seconds, updates = zip(*costs) if costs else ((math.nan,), (math.nan,))
    return min(seconds), min(updates)


def spent(group: Configuration) -> tuple[float, float]:
    """The seconds and the updates at the last validation, of the seed that took the most."""
    ends = [record.curve[-1] for record in validated(group)]
    return max(point.train_seconds for point in ends), max(float(point.update) for point in ends)


def best_within(group: Configuration, seconds: float = math.inf, updates: float = math.inf) -> float:
    """The mean over seeds of the best validation score at a cost of no more; NaN where there is none."""
    return mean(best_of_seed(record, seconds, updates) for record in validated(group))


def best_of_seed(record: Record, seconds: float = math.inf, updates: float = math.inf) -> float:
    """The same for one trial. The score before training costs nothing."""
    scores = [p.score for p in record.curve if not p.update or (p.train_seconds <= seconds and p.update <= updates)]
    return (max if record.higher_is_better else min)(scores, default=math.nan)


def spent_updates(record: Record) -> int:
    return 0 if record.selection == "initial" else record.trial.budget.updates


def rate(record: Record, per_update: int) -> float:
    """So many for each meta-update, a second of training."""
    return per_update * spent_updates(record) / record.train_seconds if record.train_seconds > 0 else math.nan


def tasks_per_second(group: Configuration) -> float:
    """Of meta-training, the mean over seeds; NaN for an algorithm that is not trained."""
    return mean(rate(record, record.trial.budget.meta_batch_size) for record in group.scored_records)


def peak_memory(group: Configuration) -> float:
    """In MB, of the seed that took the most."""
    return max((r.peak_memory_mb for r in group.scored_records if r.peak_memory_mb is not None), default=math.nan)


def mean(values: Iterable[float | None]) -> float:
    """Over those that are known; NaN where none is."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def median(values: Iterable[float | None]) -> float:
    """With None as longer than any other; NaN if half of them or more are."""
    middle = float(np.median([math.inf if value is None else value for value in values] or [math.nan]))
    return middle if math.isfinite(middle) else math.nan
