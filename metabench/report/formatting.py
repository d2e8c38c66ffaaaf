"""Numbers as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from metabench.records.columns import Column, Format


def is_share(metric: str) -> bool:
    """Whether a metric is a share of one, to be written as a percentage."""
    return metric == "accuracy" or metric.endswith("_accuracy")


def score(value: float | None, metric: str) -> str:
    """`95.30%` for an accuracy, `0.381` for anything else."""
    if not known(value):
        return "–"
    return f"{percent(value)}%" if is_share(metric) else decimal(value)


def with_interval(value: float | None, half: float | None, metric: str) -> str:
    """`95.30 ± 0.54%`, `0.381 ± 0.035`."""
    if not known(value):
        return "–"
    if not known(half):
        return score(value, metric)
    if is_share(metric):
        return f"{percent(value)} ± {percent(half)}%"
    return f"{decimal(value)} ± {decimal(half)}"


def difference(value: float | None, half: float | None, metric: str) -> str:
    """`−3.10 ± 0.42 points` for accuracies, `+0.120 ± 0.031` for anything else."""
    if not known(value) or not known(half):
        return "–"
    sign = "−" if value < 0 else "+"
    if is_share(metric):
        return f"{sign}{percent(abs(value))} ± {percent(half)} points"
    return f"{sign}{decimal(abs(value))} ± {decimal(half)}"


def percent(value: float) -> str:
    """Two decimals of a share in percent; one that lies half-way falls the same way however it was summed."""
    return f"{round(100 * value, 9):.2f}"


def decimal(value: float) -> str:
    """Three decimals, or three digits where three decimals would show nothing or a flood."""
    size = abs(value)
    return f"{value:.3f}" if value == 0 or 1e-3 <= size < 1e4 else f"{value:.3g}"


def amount(value: float | None) -> str:
    """Seconds, milliseconds, megabytes: three digits or so."""
    if not known(value):
        return "–"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def known(value: float | None) -> TypeGuard[float]:
    """Neither None nor NaN."""
    return value is not None and not math.isnan(value)


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


FORMATS: dict[Format, Callable[[Any, Any, str], str]] = {
    "text": lambda value, beside, metric: "–" if value is None or value == "" else f"{value}",
    "number": lambda value, beside, metric: f"{value}",
    "count": lambda value, beside, metric: f"{value:,}",
    "amount": lambda value, beside, metric: amount(value),
    "truth": lambda value, beside, metric: {True: "yes", False: "no"}.get(value, "–"),
    "score": with_interval,
    "difference": difference,
    "part": lambda value, beside, metric: f"{value}" if value == beside else f"{value} of {beside}",
}
"""From a value, the one beside it and the metric to text."""


def text(column: Column, row: Mapping[str, Any]) -> str:
    """What a reader sees in one row, which has the exact values by name."""
    return FORMATS[column.format](row[column.name], row.get(column.beside), row["metric"])


def heading(column: Column, metric: str = "") -> str:
    """`score`, or the metric where there is one for all rows."""
    return column.heading.format(metric=metric or "score")


def exact(column: Column, row: Mapping[str, Any]) -> Any:
    """What a column of numbers is sorted by; None where the value is not known, or is text."""
    value = row[column.name]
    if column.format in ("text", "truth") or value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value
