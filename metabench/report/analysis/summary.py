"""Groups and records -> tidy pandas tables: a row per configuration, and a row per trial."""

from __future__ import annotations

import statistics as plain
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from metabench.records.frames import COLUMNS, record_rows
from metabench.records.record import Record
from metabench.report.analysis.pairs import ComparisonGroup, comparison_groups, to_best
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import labels
from metabench.report.statistics.intervals import Interval

MEASURED = (
    *("score", "ci95", "low", "high", "degrees_of_freedom", "seed_sd", "behind", "behind_ci95", "behind_p"),
    *("train_seconds", "adapt_ms", "peak_memory_mb"),
)
"""Columns of floats: NaN where a value is not known."""


def summary(groups: Sequence[Configuration]) -> pd.DataFrame:
    """A row per group, of at least one: by suite and the protocol it competes under, best first, no score last."""
    standing = standings(groups)
    rows = [row(group, standing[index]) for index, group in enumerate(groups)]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(MEASURED, float))
    sign = frame["higher_is_better"].map({True: -1.0, False: 1.0})
    late = [group.competing_protocols[0] != "transductive" for group in groups]
    order = frame.assign(worse=frame["score"] * sign, late=late)
    order = order.sort_values(["suite", "late", "worse", "algorithm"], na_position="last", kind="stable")
    return frame.loc[order.index].reset_index(drop=True)


def row(group: Configuration, standing: Standing) -> dict[str, Any]:
    """One group as plain values; times are means over the trials that count, memory is their peak."""
    behind = standing.difference
    score, counted, budget = group.score(), group.scored_records, group.records[0].trial.budget
    tests = [record.tests[group.protocol] for record in counted if group.protocol in record.tests]
    seed_means = [float(values.mean()) for values in group.final.values()]
    return {
        "suite": group.suite,
        "algorithm": group.algorithm,
        "protocol": group.protocol,
        "metric": group.metric,
        "higher_is_better": group.higher_is_better,
        "score": score and score.mean,
        "ci95": score and score.half,
        "low": score and score.low,
        "high": score and score.high,
        "degrees_of_freedom": score and score.degrees,
        "seeds": len(group.records),
        "ok": len(counted),
        "test_tasks": score.tasks if score else budget.test_tasks,
        "seed_sd": plain.stdev(seed_means) if len(seed_means) > 1 else None,
        "standing": standing.mark,
        "behind": behind and behind.mean,
        "behind_ci95": behind and behind.half,
        "behind_p": standing.p,
        "transductive": any(test.transductive for test in tests) if tests else None,
        "updates": budget.updates if group.trained or not counted else 0,
        "meta_batch_size": budget.meta_batch_size,
        "test_steps": budget.test_steps,
        "train_seconds": mean(record.train_seconds for record in counted),
        "adapt_ms": mean(record.adapt_ms for record in counted),
        "peak_memory_mb": max((r.peak_memory_mb for r in counted if r.peak_memory_mb is not None), default=None),
        "precision": group.records[0].trial.precision,
        "strategy": ", ".join(sorted({record.strategy for record in counted if record.strategy})),
    }


class Standing(NamedTuple):
    """A group beside the best of its suite and protocol."""

    mark: str
    """"best", "tied" or ""."""
    difference: Interval | None = None
    """The paired difference, this one - the best, with its own 95% interval."""
    p: float | None = None
    """Of no difference, after Holm's correction over all pairs of that suite and protocol."""


def standings(groups: Sequence[Configuration]) -> list[Standing]:
    """For each group, its standing. Tied is what does not differ significantly from the best.

    That is after Holm's correction over all pairs of that suite and protocol, so that one among several is not
    called different by chance; one whose own interval leaves 0 out may therefore be tied.
    """
    found: dict[tuple[ComparisonGroup, str, str], Standing] = {}
    for arena, members in comparison_groups(groups).items():
        found[arena, members[0].algorithm, members[0].protocol] = Standing("best")
        for pair in to_best(members):
            mark = "" if pair.significant else "tied"
            found[arena, pair.second.algorithm, pair.second.protocol] = Standing(
                mark, pair.difference.flipped(), pair.adjusted
            )
    keys = [((group.suite, group.competing_protocols[0]), group.algorithm, group.protocol) for group in groups]
    return [found.get(key, Standing("")) for key in keys]


def trials(records: Iterable[Record]) -> pd.DataFrame:
    """A row per trial and protocol: `metabench.load`'s columns, with the report's labels, settings as JSON."""
    known = sorted(records, key=lambda record: record.trial.id)
    names = labels(known)
    rows = []
    for record in known:
        label = names[record.trial.id]
        for values in record_rows(record):
            for name in ("algorithm_parameters", "suite_parameters"):
                values[name] = msgspec.json.encode(values[name], order="sorted").decode()
            rows.append({"suite_label": label.suite, "algorithm_label": label.algorithm, **values})
    return pd.DataFrame(rows, columns=["suite_label", "algorithm_label", *COLUMNS])


def mean(values: Iterable[float | None]) -> float | None:
    """Over those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
