"""What the page's table of trials holds, as JSON: what many trials have in common is in it once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from metabench.records.record import Record
from metabench.records.trials import Part
from metabench.report import formatting
from metabench.report.collect.labels import Label, text
from metabench.report.collect.provenance import facts

LOG = 6_000
"""Characters of a traceback that are shown: its end."""
PARTS: tuple[Part, ...] = ("algorithm", "suite", "trial")
"""Of the settings, in the order in which a trial's details have them."""
POINTS = 25
"""Validations that are shown: the last."""


class Pool:
    """Distinct values in the order of their first use."""

    def __init__(self) -> None:
        self.places: dict[bytes, int] = {}
        self.values: list[Any] = []

    def place(self, value: Any) -> int:
        """Where it is in `values`."""
        key = msgspec.json.encode(value)
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(value)
        return self.places[key]


def encoded(records: Iterable[Record], labels: dict[str, Label]) -> str:
    """JSON of `trials` in the records' order, and the `pool` that their places point into.

    Without a `<`, so that no text in it can end the element that it stands in.
    """
    pool = Pool()
    rows = [trial(record, labels[record.trial.id], pool) for record in records]
    content = msgspec.json.encode({"trials": rows, "pool": pool.values}).decode()
    return content.replace("<", "\\u003c")


def trial(record: Record, label: Label, pool: Pool) -> dict[str, Any]:
    """One row: cells as [shown, value to sort by], and the places of its details."""
    of = record.trial
    score = next((test.score for test in record.tests.values()), None)
    trace = record.provenance.traceback
    log = "\n\n".join(filter(None, (record.reason, trace if len(trace) <= LOG else f"…\n{trace[-LOG:]}")))
    environment = {name: value for name, value in facts(record).items() if name not in ("traceback", "finished")}
    return {
        "id": of.id,
        "cells": [
            of.id, label.algorithm, label.suite, of.seed, record.status,
            cell(formatting.score(score, record.metric), score), measured(record.train_seconds),
            measured(record.adapt_ms), measured(record.peak_memory_mb),
        ],
        "tests": [
            [protocol, record.metric, formatting.with_interval(test.score, test.ci95, record.metric)]
            for protocol, test in record.tests.items()
        ],
        "settings": [
            pool.place([(name, text(value)) for name, value in of.settings(part).items()]) for part in PARTS
        ],
        "selection": pool.place(f"{record.selection or 'none'}, update {record.selected_update:,}"),
        "environment": pool.place(list(environment.items())),
        "finished": record.provenance.finished or "",
        "log": pool.place(log) if log else None,
        "curve": [
            [point.update, rounded(point.train_seconds), rounded(point.train_loss), rounded(point.score)]
            for point in record.curve[-POINTS:]
        ],
    }  # fmt: skip


def cell(shown: str, value: float | None) -> list[Any]:
    return [shown, rounded(value)]


def measured(value: float | None) -> list[Any]:
    return cell(formatting.amount(value), value)


def rounded(value: float | None) -> float | None:
    """Six digits; None for what is no finite number."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
