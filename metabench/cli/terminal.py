"""What a run shows on the terminal: live progress there, one line a finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metabench.records.record import Progress as Heartbeat
from metabench.records.record import Record, skipped_pairs

if TYPE_CHECKING:
    from metabench.report.analysis.summary import TextTable


def describe(record: Record, name: str | None = None) -> str:
    """One line about a finished trial."""
    trial = record.trial
    name = name or f"{trial.suite} {trial.algorithm} seed {trial.seed}"
    if record.status != "ok":
        return f"{name}: {record.status}, {record.reason}"
    scores = ", ".join(
        f"{record.metric} {number(test.score)} ± {number(test.ci95)}"
        + (f" {protocol}" if len(record.tests) > 1 else "")
        for protocol, test in record.tests.items()
    )
    return f"{name}: {scores}, trained {record.train_seconds:.1f} s"


def notices(records: Iterable[Record]) -> list[str]:
    """What the user asked for and did not get, each once."""
    records = list(records)
    fallbacks = [
        f"Note: {record.trial.algorithm} on {record.trial.suite} ran {record.strategy}, {choice.reason}"
        for record in records
        if (choice := record.provenance.choice) and choice.strategy != record.strategy
    ]
    return [*skipped_pairs(records), *dict.fromkeys(fallbacks)]


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


class View(Protocol):
    """What a terminal shows of trials at work: a rich renderable that is told what happens."""

    def __rich__(self) -> RenderableType: ...

    def on_progress(self, progress: Heartbeat) -> None:
        """A running trial sent a heartbeat."""

    def on_record(self, record: Record) -> str:
        """A trial has ended: one line about it."""


@contextmanager
def live(console: Console, view: View) -> Iterator[tuple[Callable[[Heartbeat], None], Callable[[Record], None]]]:
    """Two functions, for heartbeats and for records. In a log there is no view, only a line for each record."""

    def on_record(record: Record) -> None:
        console.print(view.on_record(record), markup=False, highlight=False, soft_wrap=not console.is_terminal)

    if not console.is_terminal:
        yield (lambda progress: None), on_record
        return
    with Live(view, console=console, transient=True, refresh_per_second=4):
        yield view.on_progress, on_record


@contextmanager
def silent() -> Iterator[tuple[Callable[[Heartbeat], None], Callable[[Record], None]]]:
    """Like live, and shows nothing."""
    yield (lambda progress: None), (lambda record: None)


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
