"""What tuning shows: a live table on a terminal, one line per finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metabench.experiments.tuning.candidate import Candidate
from metabench.experiments.tuning.drive import TuningRun
from metabench.experiments.tuning.search import Search
from metabench.records.record import Progress, Record
from metabench.report.collect.labels import text
from metabench.report.formatting import sparkline


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def parameters(candidate: Candidate) -> str:
    """`inner_lr=0.03, inner_steps=2`."""
    return ", ".join(f"{name}={text(value)}" for name, value in candidate.parameters.items())


def describe(search: Search, record: Record) -> str:
    """One line about a trial that has ended."""
    candidate = search.of[record.trial.id]
    place = search.candidates.index(candidate) + 1
    seed = f" seed {record.trial.seed}" if len(search.spec.seeds) > 1 else ""
    if record.status == "ok":
        curve = search.best_so_far(record)
        result = f"validation {number(list(curve.values())[-1])}"
    else:
        result = f"{record.status}, {record.reason}"
    return f"{search.spec.name} {place}/{search.spec.trials}{seed}: {result}; {parameters(candidate)}"


class LiveTable:
    """A rich renderable: one row per search."""

    def __init__(self, tuning: TuningRun) -> None:
        self.tuning = tuning
        self.curves: dict[str, list[float]] = {}
        """Validation scores of the running trials, by trial id."""
        self.at: dict[str, str] = {}
        """Where the running trials are, as `done/total`, by trial id."""

    def update(self, progress: Progress) -> None:
        """A heartbeat of a running trial."""
        self.at[progress.trial_id] = f"{progress.done}/{progress.total}"
        if progress.score is not None:
            self.curves.setdefault(progress.trial_id, []).append(progress.score)

    def remove(self, record: Record) -> None:
        """Drop a trial that has ended."""
        self.curves.pop(record.trial.id, None)
        self.at.pop(record.trial.id, None)

    def __rich__(self) -> Table:
        table = Table("suite", "algorithm", "trials", "pruned", "failed", "best validation", "running", box=None)
        for search in self.tuning.searches:
            best = search.best()
            over = sum(candidate.over for candidate in search.candidates)
            running = [
                f"{updates} {sparkline(self.curves.get(name, []))}".strip()
                for name, updates in list(self.at.items())
                if self.tuning.of.get(name) is search
            ]
            row = (
                search.spec.base.suite, search.spec.base.algorithm, f"{over}/{search.spec.trials}",
                f"{search.count('pruned')}", f"{search.count('failed')}",
                f"{number(search.score(best))} at {parameters(best)}" if best else "",
                ", ".join(running),
            )  # fmt: skip
            table.add_row(*map(Text, row))
        return table


@contextmanager
def live(console: Console, tuning: TuningRun) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Two functions: one takes heartbeats, the other records."""
    table = LiveTable(tuning)

    def on_record(record: Record) -> None:
        table.remove(record)
        line = describe(tuning.of[record.trial.id], record)
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    if not console.is_terminal:
        yield (lambda progress: None), on_record
        return
    with Live(table, console=console, transient=True, refresh_per_second=4):
        yield table.update, on_record


def table_of(tuning: TuningRun) -> Table:
    """The result of tuning: one row per search."""
    table = Table("suite", "algorithm", "trials", "pruned", "failed", "untuned", "tuned", "parameters")
    table.title, table.title_justify = "scores on validation tasks", "left"
    for search in tuning.searches:
        best, tuned = search.best(), search.tuned()
        if not best or not tuned:
            continue
        untuned = number(tuned.untuned_score) if tuned.untuned_score is not None else "–"
        row = (
            search.spec.base.suite, search.spec.base.algorithm, f"{tuned.trials}", f"{tuned.pruned}",
            f"{tuned.failed}", untuned, number(tuned.validation_score), parameters(best),
        )  # fmt: skip
        table.add_row(*map(Text, row))
    return table
