"""What a run shows on the terminal: live progress there, one line a finished trial in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from metabench import trials as data


def describe(record: data.Record) -> str:
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


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


@contextmanager
def live(
    console: Console, trials: tuple[data.Trial, ...]
) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Two functions: one takes signs of life, the other finished records. Silent but for records in a log."""
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
    with Progress(*columns, console=console, transient=True) as progress:
        total = progress.add_task("all trials", total=len(trials), note="")
        names = {trial.id: f"{trial.suite} {trial.algorithm} seed {trial.seed}" for trial in trials}
        bars: dict[str, Any] = {}

        def on_progress(sign: data.Progress) -> None:
            if sign.trial_id not in bars:
                bars[sign.trial_id] = progress.add_task(names[sign.trial_id], total=sign.total, note="")
            note = sign.phase if sign.loss is None else f"{sign.phase} loss {number(sign.loss)}"
            progress.update(bars[sign.trial_id], completed=sign.done, total=sign.total, note=note)

        def on_record(record: data.Record) -> None:
            if record.trial.id in bars:
                progress.update(bars[record.trial.id], visible=False)
            progress.advance(total)
            console.print(describe(record), markup=False, highlight=False)

        yield on_progress, on_record


def results_table(summary: Any) -> Table:
    """The table at the end of a run, from the report's summary (a DataFrame)."""
    table = Table(title="score: mean ± half of the 95% interval over seeds and test tasks", title_justify="left")
    for column in (
        "suite",
        "algorithm",
        "score",
        "seeds",
        "protocol",
        "train s",
        "adapt ms",
        "memory MB",
        "strategy",
    ):
        table.add_column(
            column, justify="left" if column in ("suite", "algorithm", "protocol", "strategy") else "right"
        )
    for row in summary.to_dict("records"):
        table.add_row(
            str(row["suite"]),
            str(row["algorithm"]),
            str(row["score_text"]),
            f"{row['ok']}/{row['seeds']}",
            "transductive" if row["transductive"] else "inductive",
            *(f"{row[name]:.1f}" for name in ("train_seconds", "adapt_ms", "peak_memory_mb")),
            str(row["strategy"]),
        )
    return table
