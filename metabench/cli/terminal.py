"""What a run shows on the terminal: live progress there, one line a finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from metabench.cli.live_scores import LiveScores
from metabench.records import record as data
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
    found = {}
    for record in records:
        choice = record.provenance.choice
        if choice and choice.strategy != record.strategy:
            name = f"{record.trial.algorithm} on {record.trial.suite}"
            found[name] = f"Note: {name} ran {record.strategy}, {choice.reason}"
    return [*skipped_pairs(records), *found.values()]


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


@contextmanager
def live(
    console: Console, trials: tuple[Trial, ...], sofar: LiveScores | None = None
) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Two functions: one takes signs of life, the other finished records. Silent but for records in a log.

    With `sofar` the scores so far are shown below the bars.
    """
    if not console.is_terminal:
        done = iter(range(1, len(trials) + 1))
        yield (
            lambda sign: None,
            lambda record: console.print(
                f"[{next(done)}/{len(trials)}] {describe(record)}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            ),
        )
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    with Live(Group(progress, sofar or ""), console=console, transient=True, refresh_per_second=4):
        total = progress.add_task("all trials", total=len(trials), note="")
        names = {trial.id: f"{trial.suite} {trial.algorithm} seed {trial.seed}" for trial in trials}
        bars: dict[str, Any] = {}

        def on_progress(sign: data.Progress) -> None:
            if sign.trial_id not in bars:
                bars[sign.trial_id] = progress.add_task(names[sign.trial_id], total=sign.total, note="")
            note = sign.phase if sign.loss is None else f"{sign.phase} loss {number(sign.loss)}"
            progress.update(bars[sign.trial_id], completed=sign.done, total=sign.total, note=note)
            if sofar:
                sofar.sign(sign)

        def on_record(record: Record) -> None:
            if record.trial.id in bars:
                progress.update(bars[record.trial.id], visible=False)
            progress.advance(total)
            if sofar:
                sofar.record(record)
            console.print(describe(record), markup=False, highlight=False)

        yield on_progress, on_record


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
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
