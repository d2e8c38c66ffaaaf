"""The statistics of a report as tables, for whoever wants to check or plot them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from metabench.report.analysis.pairs import all_pairs, comparison_groups, contests, over_suites, over_tasks
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics import aggregates as aggregate
from metabench.report.statistics import bootstrap
from metabench.report.statistics.effects import cohens_d
from metabench.report.statistics.intervals import Interval, paired, stack

CALIBRATION = ("loss", "brier", "calibration_error")
"""Metrics of classification beside its accuracy, lower is better."""


def tables(groups: Sequence[Configuration]) -> dict[str, pd.DataFrame]:
    """Name -> table: `seeds`, `aggregates`, `pairs`, `ranks`, `calibration`; no table where it would have no row."""
    rows_of = {
        "seeds": [row for group in groups for row in seeds(group)],
        "aggregates": [aggregates(group) for group in groups if group.steps],
        "pairs": list(pair_rows(groups)),
        "ranks": list(rank_rows(groups)),
        "calibration": [calibration(group) for group in groups if set(CALIBRATION) <= measured(group)],
    }
    return {name: pd.DataFrame(rows) for name, rows in rows_of.items() if rows}


def measured(group: Configuration) -> set[str]:
    """The metrics that every counted trial has."""
    found = [set(record.tests[group.protocol].adaptation) for record in group.scored_records]
    return set.intersection(*found) if found else set()


def calibration(group: Configuration) -> dict[str, Any]:
    """How far its probabilities can be trusted after the last inner step: means over seeds and test tasks."""
    tests = [record.tests[group.protocol] for record in group.scored_records]
    means = {name: sum(test.adaptation[name][-1] for test in tests) / len(tests) for name in CALIBRATION}
    return {**group.named(), "score": group.score().mean, **means, "seeds": len(tests)}


def columns(name: str, interval: Interval | None) -> dict[str, Any]:
    """`name`, and the ends of its interval."""
    return {
        name: interval and interval.mean,
        f"{name}_low": interval and interval.low,
        f"{name}_high": interval and interval.high,
    }


def seeds(group: Configuration) -> Iterator[dict[str, Any]]:
    """A row per seed: the mean over tasks, with an interval over tasks."""
    for seed, mean in aggregate.within_seeds(group.final).items():
        yield {**group.named(), "seed": seed, "tasks": mean.tasks, **columns("score", mean)}


def aggregates(group: Configuration) -> dict[str, Any]:
    """Interquartile mean and optimality gap, with intervals over seeds and tasks."""
    cells, higher = stack(group.final), group.higher_is_better
    target = aggregate.perfect(group.metric, higher_is_better=higher)
    gap = None if target is None else aggregate.optimality_gap(cells, target, higher_is_better=higher)
    middle = aggregate.interquartile_mean(cells)
    return {
        **group.named(), "seeds": middle.seeds, "tasks": middle.tasks,
        **columns("interquartile_mean", middle), "target": target, **columns("optimality_gap", gap),
    }  # fmt: skip


def pair_rows(groups: Sequence[Configuration]) -> Iterator[dict[str, Any]]:
    """Every two algorithms of a suite and protocol; the bootstrap's interval is over tasks, the seeds as they are."""
    for (suite, protocol), members in comparison_groups(groups).items():
        for pair in all_pairs(members):
            cells = paired(pair.first.final, pair.second.final)
            low, high = (None, None) if cells is None else bootstrap.over_tasks(cells, (suite, protocol))
            yield {
                "suite": suite, "protocol": protocol, "first": pair.first.algorithm, "second": pair.second.algorithm,
                "metric": pair.first.metric, "seeds": pair.difference.seeds, "tasks": pair.difference.tasks,
                **columns("difference", pair.difference), "p": pair.p, "p_corrected": pair.adjusted,
                "pairs": pair.family, "significant": pair.significant, **columns("first_better", pair.better),
                "bootstrap_low": low, "bootstrap_high": high,
                "cohens_d": cohens_d(stack(pair.first.final), stack(pair.second.final)),
                "degrees_of_freedom": pair.difference.degrees,
                "seed_degrees": pair.difference.parts[0][1] if len(pair.difference.parts) > 1 else None,
            }  # fmt: skip


def rank_rows(groups: Sequence[Configuration]) -> Iterator[dict[str, Any]]:
    """Average ranks over the tasks of every suite and protocol, and over suites."""
    rankings = [(*place, over_tasks(members)) for place, members in contests(groups).items()]
    if overall := over_suites(groups):
        rankings.append(("all suites", "", overall[0]))
    for suite, protocol, ranking in rankings:
        for name, mean in zip(ranking.names, ranking.ranks):
            yield {
                "suite": suite, "protocol": protocol, "algorithm": name, "average_rank": mean,
                "blocks": ranking.blocks, "friedman_p": ranking.p, "nemenyi_difference": ranking.critical,
            }  # fmt: skip
