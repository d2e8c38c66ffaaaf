"""Tables on the terminal: scores, texts, names; none breaks a word where there is room for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from metabench.report.analysis.summary import TextTable

PRIORITY = ("algorithm", "score", "standing", "train_seconds", "suite", "ok", "metric", "adapt_ms")
"""Which columns of the table at the end stay where a terminal is narrow; the others follow in their order."""
LEAST = 3
"""Columns that are there however narrow it is."""


def results_table(summary: TextTable, width: int) -> Table:
    """The table at the end of a run: as many columns as fit, by what matters; the best of each suite is bold."""
    table = Table(title="mean score ± half of its 95% interval over seeds and test tasks", title_justify="left")
    left = width - 1
    kept: list[int] = []
    rank = {name: place for place, name in enumerate(PRIORITY)}
    for place in sorted(range(len(summary.names)), key=lambda place: rank.get(summary.names[place], len(rank))):
        needed = 3 + max(len(text) for text in (summary.headings[place], *(row[place] for row in summary.rows)))
        if len(kept) < LEAST or needed <= left:
            kept.append(place)
            left -= needed
    for place in sorted(kept):
        table.add_column(summary.headings[place], overflow="fold")
    for row, best in zip(summary.rows, summary.best):
        table.add_row(*(Text(row[place]) for place in sorted(kept)), style="bold" if best else None)
    return table


def best_lines(summary: TextTable) -> list[str]:
    """Who is the best on each suite, where there is somebody to compare with."""
    name, score, suite = (summary.names.index(key) for key in ("algorithm", "score", "suite"))
    rows = [row for row, best in zip(summary.rows, summary.best) if best]
    return [f"Best on {row[suite]}: {row[name]}, {summary.headings[score]} {row[score]}." for row in rows]


def plain_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of texts that are shown as they are."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def short_table(columns: tuple[str, str], rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and what they are, a line each: cut where the line ends."""
    table = Table(*columns[:1], box=None, padding=(0, 2, 0, 0))
    table.add_column(columns[1], no_wrap=True, overflow="ellipsis")
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    return table
