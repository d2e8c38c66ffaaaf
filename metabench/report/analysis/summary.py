"""Groups and records -> tidy pandas tables: a row per configuration, and a row per trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import pandas as pd

from metabench.records.columns import COLUMNS, Column, Pooling, of_summary, of_trials, shown_in
from metabench.records.frames import record_rows
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.analysis.pairs import ComparisonGroup, best_first, comparison_groups, to_best
from metabench.report.collect.configurations import Configuration, collect
from metabench.report.collect.labels import labels
from metabench.report.statistics.simultaneous import Behind

FLOATS = ("score", "difference", "behind", "amount", "timing", "number")
"""Formats of columns of floats: NaN where a value is not known."""

POOLED: dict[Pooling, Callable[[list[Any]], Any]] = {
    "same": lambda values: values[0],
    "mean": lambda values: sum(values) / len(values) if values else None,
    "highest": lambda values: max(values, default=None),
    "any": lambda values: any(values) if values else None,
    "each": lambda values: ", ".join(sorted(set(filter(None, values)))),
}
"""From the values that are known, of the trials that count (`same`: of all) to that of their configuration."""


def summary(groups: Sequence[Configuration], columns: Iterable[Column] = COLUMNS) -> pd.DataFrame:
    """A row per group, of at least one: by suite and the protocol it competes under, best first, no score last."""
    shown, groups = of_summary(columns), best_first(groups)
    rows = [row(group, standing, shown) for group, standing in zip(groups, standings(groups))]
    floats = {column.name: float for column in shown if column.format in FLOATS}
    return pd.DataFrame(rows, columns=[column.name for column in shown]).astype(floats)


def row(group: Configuration, standing: Standing, columns: Sequence[Column]) -> list[Any]:
    """One group as plain values."""
    values = statistics(group, standing)
    for column in columns:
        if column.over_seeds and column.of_trial:
            records = group.records if column.over_seeds == "same" else group.scored_records
            known = [value for r in records if (value := column.of_trial(r, group.protocol)) is not None]
            values[column.name] = POOLED[column.over_seeds](known)
    return [values[column.name] for column in columns]


def statistics(group: Configuration, standing: Standing) -> dict[str, Any]:
    """The columns that are not pooled from the trials, by name."""
    behind, score, scored = standing.behind, group.score(), group.scored_records
    budget, steps = group.records[0].trial.budget, group.records[0].trial.algorithm_parameters.get("inner_steps")
    seed_means = [float(values.mean()) for values in group.final.values()]
    return {
        **group.named(),
        "higher_is_better": group.higher_is_better,
        "score": score.mean,
        "ci95": score.half,
        "low": score.low,
        "high": score.high,
        "degrees_of_freedom": score.degrees,
        "seeds": len(group.records),
        "ok": len(scored),
        "test_tasks": score.tasks or budget.test_tasks,
        "seed_sd": deviation(seed_means),
        "standing": standing.mark,
        "behind": behind and behind.mean,
        "behind_low": behind and behind.low,
        "behind_high": behind and behind.high,
        "behind_p": behind and behind.p,
        "updates": budget.updates if group.trained or not scored else 0,
        "tasks_seen": tasks_seen(group),
        "inner_gradients": tasks_seen(group) * steps if isinstance(steps, int) else None,
        "train_sd": deviation(record.train_seconds for record in scored),
        "adapt_sd": deviation(record.adapt_ms for record in scored),
    }


def tasks_seen(group: Configuration) -> int:
    """In training, by one seed; 0 for what is not trained."""
    budget = group.records[0].trial.budget
    return budget.updates * budget.meta_batch_size if group.trained or not group.scored_records else 0


def deviation(values: Iterable[float | None]) -> float | None:
    """The standard deviation over seeds; None below two."""
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 else None


def cost(group: Configuration) -> str:
    """`trained in 15 ± 1 s, adapts to a task in 3.2 ± 0.1 ms`."""
    sides = {"train_seconds": ("trained in", "s"), "adapt_ms": ("adapts to a task in", "ms")}
    words = []
    for name, (verb, unit) in sides.items():
        known = [value for record in group.scored_records if (value := getattr(record, name))]
        if known:
            words.append(f"{verb} {formatting.timing(fmean(known), deviation(known))} {unit}")
    return ", ".join(words) or "no time was recorded"


class Standing(NamedTuple):
    """A group beside the best of its suite and protocol."""

    mark: Literal["best", "not separated", ""] = ""
    behind: Behind | None = None
    """None of the best."""


def standings(groups: Sequence[Configuration]) -> list[Standing]:
    """For each group, its standing: not separated from the best is whose interval includes 0."""
    by_place: dict[tuple[ComparisonGroup, str, str], Standing] = {}
    for place, members in comparison_groups(groups).items():
        by_place[place, members[0].algorithm, members[0].protocol] = Standing("best")
        for group, found in zip(members[1:], to_best(members)[1:]):
            standing = Standing("" if found.separated else "not separated", found)
            by_place[place, group.algorithm, group.protocol] = standing
    keys = [((group.suite, group.competing_protocols[0]), group.algorithm, group.protocol) for group in groups]
    return [by_place.get(key, Standing()) for key in keys]


def trials(records: Iterable[Record], columns: Iterable[Column] = COLUMNS) -> pd.DataFrame:
    """A row per trial and protocol: `metabench.load`'s columns, with the report's labels."""
    known, shown = sorted(records, key=lambda record: record.trial.id), of_trials(columns)
    names = labels(known)
    rows = []
    for record in known:
        label = names[record.trial.id]
        for values in record_rows(record, shown):
            rows.append({"suite_label": label.suite, "algorithm_label": label.algorithm, **values})
    return pd.DataFrame(rows, columns=["suite_label", "algorithm_label", *(column.name for column in shown)])


class TextTable(NamedTuple):
    """Texts for a terminal."""

    names: tuple[str, ...]
    """Of the columns, as they are in DataFrames."""
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[bool, ...]
    """Whether a row is the best of its suite and protocol, of several."""


def summary_table(records: Iterable[Record], results: str | Path, columns: Sequence[Column] = COLUMNS) -> TextTable:
    """A row per suite, algorithm and protocol of `records`, best first; `results` holds their scores."""
    shown = shown_in("terminal", columns)
    fit = [record for record in records if record.status != "unfit"]
    rows = summary(collect(fit, Path(results)), columns).to_dict("records") if fit else []
    beside = Counter(row["suite"] for row in rows)
    for row in rows:
        row["standing"] = row["standing"] if beside[row["suite"]] > 1 else ""  # alone is not the best
    metrics = {str(row["metric"]) + arrow(row) for row in rows if row["metric"]}
    one = next(iter(metrics)) if len(metrics) == 1 else ""
    if one:  # it stands in the heading
        shown = [column for column in shown if column.name != "metric"]
    return TextTable(
        tuple(column.name for column in shown),
        tuple((one if column.name == "score" else "") or heading(column) for column in shown),
        tuple(tuple(cell(column, row) for column in shown) for row in rows),
        tuple(row["standing"] == "best" for row in rows),
    )


def heading(column: Column) -> str:
    """A column's heading, with its unit."""
    return f"{formatting.heading(column)} {column.unit * (not column.beside or column.format == 'timing')}".strip()


def cell(column: Column, row: Mapping[str, Any]) -> str:
    """A value for a terminal, where no marks or colors say the rest."""
    if column.name == "standing" and not row["standing"] and formatting.known(row["behind"]):
        return "behind"
    return formatting.text(column, row) + (arrow(row) if column.name == "metric" else "")


def arrow(row: Mapping[str, Any]) -> str:
    """Where lower is better."""
    return "" if row["higher_is_better"] else " ↓"
