"""How far a run is, from its first second: fixed columns that fit 80, time by updates and not by trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metabench.cli.live_scores import LiveScores
from metabench.cli.terminal import describe, number
from metabench.records.record import Progress as Heartbeat
from metabench.records.record import Record
from metabench.records.trials import Trial
from metabench.report.collect.labels import labels

BAR, WHERE, NOTE = 12, 24, 15
"""Widths of the columns after the name."""
TEST_SHARE = 0.1
"""Of a trial's time that its test takes: roughly, for the time that is left."""


class RunView:
    """A line for each trial that runs, and one for all; with `scores` those so far below. See terminal.View."""

    def __init__(
        self,
        trials: Sequence[Trial],
        scores: LiveScores | None = None,
        jobs: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trials = {trial.id: trial for trial in trials}
        self.names = names_of(trials)
        self.scores, self.jobs, self.clock, self.began = scores, jobs, clock, clock()
        self.running: dict[str, Heartbeat] = {}
        """The last heartbeat of each trial that runs."""
        self.losses: dict[str, str] = {}
        self.done: set[str] = set()

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for width in (BAR, WHERE, NOTE):
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        begun = bool(self.done or self.running) or not self.trials
        first = f"{len(self.done)} of {counted(len(self.trials))}" if begun else f"starting {workers(self.jobs)}"
        table.add_row("all trials", ProgressBar(1.0, self.fraction(), BAR), first, self.times())
        for name, sign in list(self.running.items()):
            share = sign.done / max(1, sign.total)
            row = (Text(self.names[name]), ProgressBar(1.0, share, BAR), self.where(sign), self.losses.get(name, ""))
            table.add_row(*row)
        return Group(table, self.scores) if self.scores else table

    def where(self, sign: Heartbeat) -> str:
        """`300 of 1,000 updates`, `40 of 600 tasks`, or what is done before."""
        if sign.phase == "train":
            return f"{sign.done:,} of {sign.total:,} updates"
        if sign.phase == "test":
            tasks = self.trials[sign.trial_id].budget.test_tasks
            return f"{round(sign.done / max(1, sign.total) * tasks):,} of {tasks:,} tasks"
        return sign.phase

    def fraction(self) -> float:
        """How much of the work is done, in updates: a trial's test counts as a few more."""
        whole = sum(weight(trial) for trial in self.trials.values())
        done = sum(weight(self.trials[name]) for name in self.done)
        done += sum(weight(self.trials[name]) * share(sign) for name, sign in self.running.items())
        return done / whole if whole else 1.0

    def times(self) -> str:
        """`0:42, 1:10 left`: since the beginning, and what that makes of the rest."""
        elapsed, fraction = self.clock() - self.began, self.fraction()
        left = f", {clock(elapsed * (1 - fraction) / fraction)} left" if 0.01 < fraction < 1 else ""
        return clock(elapsed) + left

    def on_progress(self, progress: Heartbeat) -> None:
        """See View."""
        if progress.trial_id not in self.trials or progress.trial_id in self.done:
            return
        self.running[progress.trial_id] = progress
        if progress.loss is not None:
            self.losses[progress.trial_id] = f"loss {number(progress.loss)}"
        if self.scores:
            self.scores.on_progress(progress)

    def on_record(self, record: Record) -> str:
        """See View."""
        name = record.trial.id
        self.running.pop(name, None)
        self.done.add(name)
        if self.scores:
            self.scores.on_record(record)
        return f"[{len(self.done)}/{len(self.trials)}] {describe(record, self.names.get(name))}"


def names_of(trials: Sequence[Trial]) -> dict[str, str]:
    """By id: suite, algorithm and seed, with the settings that tell it from others of the run."""
    told = labels((Record(trial=trial, status="ok") for trial in trials), apart=False)
    names = {}
    for trial in trials:
        label = told[trial.id]
        names[trial.id] = f"{label.suite} {trial.algorithm} seed {trial.seed}" + label.algorithm.removeprefix(
            trial.algorithm
        )
    return names


def weight(trial: Trial) -> float:
    """The work of a trial, in tasks of training."""
    return float(max(1, trial.budget.updates) * trial.budget.meta_batch_size)


def share(sign: Heartbeat) -> float:
    """How much of a trial is done."""
    inside = sign.done / max(1, sign.total)
    if sign.phase == "test":
        return 1 - TEST_SHARE * (1 - inside)
    return (1 - TEST_SHARE) * inside if sign.phase == "train" else 0.0


def clock(seconds: float) -> str:
    """`0:42`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(trials: int) -> str:
    """`1 trial`, `18 trials`."""
    return f"{trials:,} trial{'s' * (trials != 1)}"


def workers(jobs: int) -> str:
    """`2 workers`."""
    return f"{jobs} worker{'s' * (jobs != 1)}"
