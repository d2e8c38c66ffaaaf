"""What tuning shows: a live table on a terminal, one line per finished trial in a log."""

from __future__ import annotations

from metabench.cli.tables import WordTable
from metabench.cli.terminal import number
from metabench.experiments.tuning.drive import TuningRun
from metabench.experiments.tuning.search import Search
from metabench.records.record import Progress, Record
from metabench.report.collect.labels import pairs
from metabench.report.formatting import sparkline


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
    return f"{search.spec.name} {place}/{search.spec.trials}{seed}: {result}; {pairs(candidate.parameters)}"


class TuningView:
    """A table with one row per search. See terminal.View."""

    def __init__(self, tuning: TuningRun) -> None:
        self.tuning = tuning
        self.curves: dict[str, list[float]] = {}
        """Validation scores of the running trials, by trial id."""
        self.at: dict[str, str] = {}
        """Where the running trials are, as `done/total`, by trial id."""

    def on_progress(self, progress: Progress) -> None:
        """See View."""
        self.at[progress.trial_id] = f"{progress.done}/{progress.total}"
        if progress.score is not None:
            self.curves.setdefault(progress.trial_id, []).append(progress.score)

    def on_record(self, record: Record) -> str:
        """See View."""
        self.curves.pop(record.trial.id, None)
        self.at.pop(record.trial.id, None)
        return describe(self.tuning.of[record.trial.id], record)

    def __rich__(self) -> WordTable:
        rows = []
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
                f"{number(search.score(best))} at {pairs(best.parameters)}" if best else "",
                ", ".join(running),
            )  # fmt: skip
            rows.append(row)
        columns = ("suite", "algorithm", "trials", "pruned", "failed", "best validation", "running")
        return WordTable(columns, rows, spare=("running", "pruned", "failed"), live=True)


def table_of(tuning: TuningRun) -> WordTable:
    """The result of tuning: one row per search."""
    rows = []
    for search in tuning.searches:
        best, tuned = search.best(), search.tuned()
        if not best or not tuned:
            continue
        untuned = number(tuned.untuned_score) if tuned.untuned_score is not None else "–"
        row = (
            search.spec.base.suite, search.spec.base.algorithm, f"{tuned.trials}", f"{tuned.pruned}",
            f"{tuned.failed}", untuned, number(tuned.validation_score), pairs(best.parameters),
        )  # fmt: skip
        rows.append(row)
    columns = ("suite", "algorithm", "trials", "pruned", "failed", "untuned", "tuned", "parameters")
    return WordTable(columns, rows, spare=("pruned", "failed"), title="scores on validation tasks")
