"""What a run shows on the terminal: live progress there, one line a finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from metabench.cli.live_scores import LiveScores
from metabench.records.record import Progress as Heartbeat
from metabench.records.record import Record, skipped_pairs
from metabench.records.trials import Trial

if TYPE_CHECKING:
    from metabench.report.analysis.summary import TextTable


def describe(record: Record) -> str:
    """One line about a finished trial."""
    trial = record.trial
    name = f"{trial.suite} {trial.algorithm} seed {trial.seed}"
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


class RunView:
    """A bar for each trial that runs, and one for all; with `scores` those so far below."""

    def __init__(self, trials: Sequence[Trial], scores: LiveScores | None = None) -> None:
        self.scores = scores
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.all = self.bars.add_task("all trials", total=len(trials), note="")
        self.names = {trial.id: f"{trial.suite} {trial.algorithm} seed {trial.seed}" for trial in trials}
        self.of: dict[str, TaskID] = {}
        """The bars of single trials, by trial id."""

    def __rich__(self) -> RenderableType:
        return Group(self.bars, self.scores or "")

    def on_progress(self, progress: Heartbeat) -> None:
        """See View."""
        name = progress.trial_id
        if name not in self.of:
            self.of[name] = self.bars.add_task(self.names[name], total=progress.total, note="")
        note = progress.phase if progress.loss is None else f"{progress.phase} loss {number(progress.loss)}"
        self.bars.update(self.of[name], completed=progress.done, total=progress.total, note=note)
        if self.scores:
            self.scores.on_progress(progress)

    def on_record(self, record: Record) -> str:
        """See View."""
        if record.trial.id in self.of:
            self.bars.update(self.of[record.trial.id], visible=False)
        self.bars.advance(self.all)
        if self.scores:
            self.scores.on_record(record)
        return f"[{self.bars.tasks[0].completed:.0f}/{len(self.names)}] {describe(record)}"


def results_table(summary: TextTable, width: int) -> Table:
    """The table at the end of a run, with as many columns as fit: the first ones, four at least."""
    table = Table(title="mean score ± half of its 95% interval over seeds and test tasks", title_justify="left")
    left = width - 1
    for place, heading in enumerate(summary.headings):
        left -= 3 + max(len(text) for text in (heading, *(row[place] for row in summary.rows)))
        if left < 0 and place >= 4:
            break
        table.add_column(heading, overflow="fold")
    for row in summary.rows:
        table.add_row(*map(Text, row[: len(table.columns)]))
    return table


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
