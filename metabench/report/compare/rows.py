"""A comparison as a reader sees it: rows for a terminal, Markdown, CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metabench.errors import UserError
from metabench.records.columns import COMPARISON
from metabench.report.compare.verdicts import Change, Comparison, Verdict
from metabench.report.formatting import csv, plain, sparkline, text
from metabench.report.statistics.intervals import Interval

HEADINGS = tuple(column.heading for column in COMPARISON)
ORDER: tuple[Verdict, ...] = ("worse", "improved", "noise", "same", "not comparable")


def rows(comparison: Comparison) -> list[list[str]]:
    """A row a configuration; the protocol is named where an algorithm was tested under both."""
    tested = Counter((change.suite, change.algorithm) for change in comparison.changes)
    table = []
    for change in comparison.changes:
        cells = values(change) | {"validation": arrow(change.curves)}
        cells["seeds"] = cells["seeds"] or None
        if tested[change.suite, change.algorithm] > 1:
            cells["algorithm"] += f", {change.protocol}"
        table.append([text(column, cells) for column in COMPARISON])
    return table


def arrow(curves: Sequence[Sequence[float]]) -> str:
    """`▁▃▅▆ → ▁▅▇█`, on one scale."""
    both = [value for curve in curves for value in curve]
    if max(map(len, curves)) < 2:
        return "–"
    return " → ".join(sparkline(curve, min(both), max(both)) for curve in curves)


def headline(comparison: Comparison) -> str:
    """`1 worse, 2 improved, 3 noise.`"""
    counts = Counter(change.verdict for change in comparison.changes)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict]) + "."


def notes(comparison: Comparison) -> list[str]:
    """What the table does not say."""
    lines = [
        f"{change.algorithm} on {change.suite}: {', '.join(change.changed)}."
        for change in comparison.changes
        if change.changed
    ]
    if any(change.difference and change.difference.seeds == 1 for change in comparison.changes):
        lines.append("1 seed: the interval is over tasks only, and does not say how another seed would have changed.")
    return list(dict.fromkeys((*comparison.notes, *lines)))


def markdown(comparison: Comparison) -> str:
    """For a pull request."""
    table = [HEADINGS, ["---"] * len(HEADINGS), *(map(plain, row) for row in rows(comparison))]
    lines = [headline(comparison), "", *(f"| {' | '.join(row)} |" for row in table)]
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in notes(comparison))]).strip() + "\n"


def frame(comparison: Comparison) -> pd.DataFrame:
    """The numbers as they are."""
    return pd.DataFrame([values(change) for change in comparison.changes])


def values(change: Change) -> dict[str, Any]:
    """One row of the CSV."""
    gap = change.difference
    return {
        **{name: getattr(change, name) for name in ("suite", "algorithm", "protocol", "metric", "higher_is_better")},
        **{name: getattr(change, name) for name in ("verdict", "why")},
        "changed": ", ".join(change.changed),
        **with_ci95("before", change.before),
        **with_ci95("after", change.after),
        **with_ci95("difference", gap),
        "p": change.p,
        "seeds": gap.seeds if gap else 0,
        "tasks": gap.tasks if gap else 0,
        "time_ratio": change.time_ratio,
        "validation_before": change.curves[0][-1] if change.curves[0] else None,
        "validation_after": change.curves[1][-1] if change.curves[1] else None,
    }


def with_ci95(name: str, value: Interval | None) -> dict[str, float | None]:
    return {name: value.mean if value else None, f"{name}_ci95": value.half if value else None}


def encoded(comparison: Comparison, path: Path) -> bytes:
    """The content of a file, Markdown or CSV by its name. Raises UserError for another name."""
    if path.suffix == ".md":
        return markdown(comparison).encode()
    if path.suffix == ".csv":
        return csv(frame(comparison))
    raise UserError(f"Cannot write the comparison to '{path}': its name must end in .md or .csv.")
