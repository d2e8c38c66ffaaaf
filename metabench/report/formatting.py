"""Numbers as a reader sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from markupsafe import Markup

from metabench.records.columns import Column, Format
from metabench.records.digits import places

if TYPE_CHECKING:
    from pandas import DataFrame

BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 16
"""Of a sparkline."""
MOST_PLACES = 4
"""Decimals of what is no share, beyond which a power of ten is written."""


def is_share(metric: str) -> bool:
    """Whether a metric is a share of one, to be written as a percentage."""
    return metric == "accuracy" or metric.endswith("_accuracy")


def score(value: float | None, metric: str) -> str:
    """`95.30%` for an accuracy, `0.381` for anything else."""
    return with_interval(value, None, metric)


def with_interval(value: float | None, half: float | None, metric: str, unit: str = "%") -> str:
    """`95.30 ± 0.54%`, `0.381 ± 0.035`: two digits of the interval, and the value to the same place."""
    if not known(value):
        return "–"
    write = writer(half, metric)
    margin = f" ± {write(half)}" if known(half) else ""
    return minus(f"{write(value)}{margin}") + unit * is_share(metric)


def difference(value: float | None, half: float | None, metric: str) -> str:
    """`−3.10 ± 0.42 points` for accuracies, `+0.120 ± 0.031` for anything else."""
    if not known(value):
        return "–"
    return ("−" if value < 0 else "+") + with_interval(abs(value), half, metric, " points")


def behind(value: float | None, ends: tuple[float, float], metric: str) -> str:
    """`−3.10 [−5.20, 0.00]`: how far behind the best, in points for a share, with both ends of its interval."""
    if not known(value):
        return "–"
    write = writer((ends[1] - ends[0]) / 2, metric)

    def seen(end: float) -> str:
        """An end that is near 0 and not 0 does not look like it."""
        text = write(end)
        return text if end == 0 or float(text) else rounded(100 * end if is_share(metric) else end, 1)

    return "{} [{}, {}]".format(*map(minus, (write(value), *map(seen, ends))))


def minus(text: str) -> str:
    """Numbers with the sign that axes have too; in a power of ten it stays."""
    return re.sub(r"(?<!e)-", "−", text)


def writer(half: float | None, metric: str) -> Callable[[float], str]:
    """How values are written whose interval has this half-width."""
    times = 100 if is_share(metric) else 1
    if not known(half) or half <= 0 or math.isinf(half):
        return percent if times == 100 else decimal
    decimals = places(times * half)
    if times == 1 and decimals > MOST_PLACES:
        return lambda value: f"{value:.2g}"
    return lambda value: f"{round(times * value, 9):.{min(decimals, 2) if times == 100 else decimals}f}"


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


def timing(value: float | None, spread: float | None) -> str:
    """`15 ± 1`: two digits, and the standard deviation over seeds with one."""
    if not known(value):
        return "–"
    if value == 0:
        return "0"
    return rounded(value, 2) + (f" ± {rounded(spread, 1)}" if known(spread) else "")


def rounded(value: float, digits: int) -> str:
    """So many digits, without a power of ten."""
    near = float(f"{value:.{digits - 1}e}")  # 9.96 has two digits as 10, not as 10.0
    decimals = digits - 1 - math.floor(math.log10(abs(near))) if near else 0
    return f"{near:,.{max(decimals, 0)}f}"


def known(value: float | None) -> TypeGuard[float]:
    """Neither None nor NaN."""
    return value is not None and not math.isnan(value)


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(numbers: Sequence[int]) -> str:
    """`1,000`, or `20 to 1,000`: from the least to the greatest."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(names: Sequence[str], most: int = 4) -> str:
    """A list that a sentence can hold: `a, b, c, d and 2 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def sparkline(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """A curve as one line of text: a bar for each value, between `low` and `high` (of the values, unless given); the
    last of each stretch where there are more than fit."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(len(finite), MAX_BARS)
    last = [finite[math.ceil((place + 1) * len(finite) / count) - 1] for place in range(count)]
    low, high = min(finite) if low is None else low, max(finite) if high is None else high
    top = len(BARS) - 1
    return "".join(
        BARS[min(top, max(0, round(top * (value - low) / (high - low))))] if high > low else BARS[top // 2]
        for value in last
    )


def csv(table: DataFrame) -> bytes:
    """The content of a file."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def plain(value: Any) -> str:
    """Text that Markdown shows as it is, in a table too."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", text)


FORMATS: dict[Format, Callable[[Any, Any, str], str]] = {
    "text": lambda value, beside, metric: "–" if value is None or value == "" else f"{value}",
    "number": lambda value, beside, metric: f"{value}",
    "count": lambda value, beside, metric: f"{value:,.0f}" if known(value) else "–",
    "timing": lambda value, beside, metric: timing(value, beside),
    "amount": lambda value, beside, metric: amount(value),
    "truth": lambda value, beside, metric: {True: "yes", False: "no"}.get(value, "–"),
    "score": with_interval,
    "difference": difference,
    "behind": behind,
    "part": lambda value, beside, metric: f"{value}" if value == beside else f"{value} of {beside}",
    "ratio": lambda value, beside, metric: f"× {value:.2f}" if value else "–",
    "qualified": lambda value, beside, metric: f"{value} ({beside})" if beside else value,
    "explained": lambda value, beside, metric: f"{value}: {beside}" if beside else value,
}
"""From a value, the one beside it and the metric to text."""


def text(column: Column, row: Mapping[str, Any]) -> str:
    """What a reader sees in one row, which has the exact values by name."""
    beside = [row.get(name) for name in column.beside.split()]
    one = tuple(beside) if len(beside) > 1 else beside[0] if beside else None
    return FORMATS[column.format](row[column.name], one, row["metric"])


def brief(column: Column, row: Mapping[str, Any]) -> str:
    """The mean without its interval, or how far behind the best without the mean: where the other stands near by."""
    shown = text(column, row)
    if column.format == "behind":
        return shown[max(shown.find("["), 0) :]
    mean, _, half = shown.partition(" ± ")
    return mean + "%" * half.endswith("%")


def heading(column: Column, metric: str = "") -> str:
    """`score`, or the metric where there is one for all rows."""
    return column.heading.format(metric=metric or "score")


def exact(column: Column, row: Mapping[str, Any]) -> Any:
    """What a column of numbers is sorted by; None where the value is not known, or is text."""
    value = row[column.name]
    if column.format in ("text", "truth") or value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value
