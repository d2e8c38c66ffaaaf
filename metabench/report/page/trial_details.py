"""What the page's table of trials holds, as JSON: what many trials have in common is in it once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from metabench.records.columns import Column, of_trials, shown_in, trial_values
from metabench.records.record import Record
from metabench.records.trials import Part
from metabench.report import formatting
from metabench.report.collect.labels import Label, labels, text
from metabench.report.collect.provenance import LONG, facts

LOG = 6_000
"""Characters of a traceback that are shown: its end."""
PARTS: tuple[Part, ...] = ("algorithm", "suite", "trial")
"""Of the settings, in the order in which a trial's details have them."""
OWN = (*LONG, "finished", "load")
"""Facts of one trial: the rest of its environment is that of many."""
POINTS = 25
"""Validations that are shown: the last."""


def encoded(records: Sequence[Record], columns: Sequence[Column]) -> str:
    """JSON of `trials` in the records' order, and the `pool` that their places point into.

    Without a `<`, so that no text in it can end the element that it stands in.
    """
    names, shown = labels(records), shown_in("trials", of_trials(columns))
    places: dict[bytes, int] = {}

    def pooled(value: Any) -> int:
        return places.setdefault(msgspec.json.encode(value), len(places))

    rows = [trial(record, names[record.trial.id], pooled, shown) for record in records]
    content = msgspec.json.encode({"trials": rows, "pool": [msgspec.Raw(value) for value in places]}).decode()
    return content.replace("<", "\\u003c")


def trial(record: Record, label: Label, pooled: Callable[[Any], int], columns: Sequence[Column]) -> dict[str, Any]:
    """One row: its cells under the columns, its id first, of its first test, and the places of its details."""
    of = record.trial
    protocol = next(iter(record.tests), of.protocol)
    row = trial_values(record, protocol, columns) | {"metric": record.metric} | label._asdict()
    trace = record.provenance.traceback
    log = "\n\n".join(filter(None, (record.reason, trace if len(trace) <= LOG else f"…\n{trace[-LOG:]}")))
    environment = {name: value for name, value in facts(record).items() if name not in OWN}
    load = record.provenance.load
    return {
        "cells": [cell(column, row) for column in columns],
        "tests": [
            [protocol, record.metric, formatting.with_interval(test.score, test.ci95, record.metric)]
            for protocol, test in record.tests.items()
        ],
        "settings": [
            pooled([(name, text(value)) for name, value in of.settings(part).items()]) for part in PARTS
        ],
        "selection": pooled(f"{record.selection or 'none'}, update {record.selected_update:,}"),
        "environment": [pooled(fact) for fact in environment.items()],
        "finished": (record.provenance.finished or "") + (f", load {load[0]:.1f} to {load[1]:.1f}" if load else ""),
        "log": pooled(log) if log else None,
        "curve": [
            [point.update, rounded(point.train_seconds), rounded(point.train_loss), rounded(point.score)]
            for point in record.curve[-POINTS:]
        ],
    }  # fmt: skip


def cell(column: Column, row: Mapping[str, Any]) -> Any:
    """Text as it is, a number as [what is shown, what it is sorted by]."""
    if column.format == "text":
        return row[column.name]
    return [formatting.text(column, row), rounded(formatting.exact(column, row))]


def rounded(value: float | None) -> float | int | None:
    """Six digits; None for what is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    near = float(f"{value:.6g}")
    return int(near) if near.is_integer() else near
