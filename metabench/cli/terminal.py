"""What a run shows on the terminal: live progress there, one line a finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from metabench.records.record import Progress as Heartbeat
from metabench.records.record import Record, skipped_pairs


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
