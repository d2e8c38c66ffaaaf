"""A comparison as a reader sees it: rows for a terminal, Markdown, CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metabench.errors import UserError
from metabench.report import formatting
from metabench.report.compare.verdicts import Change, Comparison, Verdict
from metabench.report.sparklines import sparkline
from metabench.report.statistics.intervals import Interval

HEADINGS = ("suite", "algorithm", "before", "after", "difference", "verdict", "seeds", "time", "validation")
ORDER: tuple[Verdict, ...] = ("worse", "improved", "noise", "same", "not comparable")


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row a configuration; the protocol is named where an algorithm was tested under both."""
    names = Counter((change.suite, change.algorithm) for change in comparison.changes)
    return [cells(change, names[change.suite, change.algorithm] > 1) for change in comparison.changes]


def cells(change: Change, with_protocol: bool) -> tuple[str, ...]:
    """One row under HEADINGS."""
    sides = [with_interval(side, change.metric) for side in (change.before, change.after)]
    gap = change.difference
    name = f"{change.algorithm}, {change.protocol}" if with_protocol else change.algorithm
    return (
        change.suite,
        name,
        *sides,
        formatting.difference(gap.mean, gap.half, change.metric) if gap else "–",
        f"{change.verdict}: {change.why}" if change.why else change.verdict,
        str(gap.seeds) if gap else "–",
        f"× {change.time_ratio:.2f}" if change.time_ratio else "–",
        arrow(change.curves),
    )


def with_interval(value: Interval | None, metric: str) -> str:
    return formatting.with_interval(value.mean, value.half, metric) if value else "–"


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
    found = [
        f"{change.algorithm} on {change.suite}: {', '.join(change.changed)}."
        for change in comparison.changes
        if change.changed
    ]
    if any(change.difference and change.difference.seeds == 1 for change in comparison.changes):
        found.append("1 seed: the interval is over tasks only, and does not say how another seed would have changed.")
    return list(dict.fromkeys((*comparison.notes, *found)))


def markdown(comparison: Comparison) -> str:
    """For a pull request."""
    from metabench.report.page.render import plain  # with seaborn behind it, which a terminal need not wait for

    lines = [headline(comparison), "", row(HEADINGS), row("---" for _ in HEADINGS)]
    lines += [row(map(plain, each)) for each in rows(comparison)]
    lines += ["", *(f"- {plain(note)}" for note in notes(comparison))]
    return "\n".join(lines).strip() + "\n"


def row(texts: Any) -> str:
    return f"| {' | '.join(texts)} |"


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
        **both("before", change.before),
        **both("after", change.after),
        **both("difference", gap),
        "p": change.p,
        "seeds": gap.seeds if gap else 0,
        "tasks": gap.tasks if gap else 0,
        "time_ratio": change.time_ratio,
        "validation_before": change.curves[0][-1] if change.curves[0] else None,
        "validation_after": change.curves[1][-1] if change.curves[1] else None,
    }


def both(name: str, value: Interval | None) -> dict[str, float | None]:
    return {name: value.mean if value else None, f"{name}_ci95": value.half if value else None}


def encoded(comparison: Comparison, path: Path) -> bytes:
    """The content of a file, Markdown or CSV by its name. Raises UserError for another name."""
    if path.suffix == ".md":
        return markdown(comparison).encode()
    if path.suffix == ".csv":
        text: str = frame(comparison).to_csv(index=False, lineterminator="\n")
        return text.encode()
    raise UserError(f"Cannot write the comparison to '{path}': its name must end in .md or .csv.")
