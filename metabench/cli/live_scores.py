"""Live scores of a run, built from outcomes as they arrive (no disk reads)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from metabench.cli.tables import WordTable
from metabench.records.record import Progress, Record
from metabench.records.trials import Trial
from metabench.report.collect.labels import Label, labels
from metabench.report.formatting import score, sparkline


class LiveScores:
    """A rich renderable: a row for each suite and algorithm."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.names = labels(Record(trial=trial, status="ok") for trial in trials)
        self.planned = dict.fromkeys(self.names.values(), 0)
        for label in self.names.values():
            self.planned[label] += 1
        self.ended: dict[Label, list[Record]] = {label: [] for label in self.planned}
        self.curves: dict[str, list[float]] = {}
        """Of the trials that are running: their validation scores."""

    def on_progress(self, progress: Progress) -> None:
        """A running trial sent a heartbeat."""
        if progress.score is not None:
            self.curves.setdefault(progress.trial_id, []).append(progress.score)

    def on_record(self, record: Record) -> None:
        """A trial has ended."""
        self.curves.pop(record.trial.id, None)
        self.ended[self.names[record.trial.id]].append(record)

    def __rich__(self) -> WordTable:
        rows = []
        for label, planned in self.planned.items():
            ended = self.ended[label]
            running = [curve for name, curve in list(self.curves.items()) if self.names[name] == label]
            metric = next((record.metric for record in ended if record.metric), "")
            row = (
                *label,
                f"{len(ended)}/{planned}",
                means(ended),
                ", ".join(f"{sparkline(curve)} {score(curve[-1], metric)}" for curve in running),
            )
            rows.append(row)
        columns = ("suite", "algorithm", "ended", "test score so far", "validation of those running")
        return WordTable(columns, rows, spare=columns[-1:], live=True)


def means(records: Iterable[Record]) -> str:
    """`accuracy 95.30% (3 seeds)`, under each protocol; then how many failed."""
    scored: dict[str, list[Record]] = {}
    failed = 0
    for record in records:
        failed += record.is_failure
        for protocol in record.tests if record.status == "ok" else ():
            scored.setdefault(protocol, []).append(record)
    parts = []
    for protocol, known in scored.items():
        metric = known[0].metric
        mean = statistics.fmean(record.tests[protocol].score for record in known)
        under = f" {protocol}" if len(scored) > 1 else ""
        parts.append(f"{metric} {score(mean, metric)}{under} ({len(known)} seed{'s' * (len(known) != 1)})")
    return "; ".join(parts + ([f"{failed} failed"] if failed else []))
