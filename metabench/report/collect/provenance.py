"""Where the records come from: versions, hardware and plugins, each distinct value once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.collect.labels import text

MAX_LISTED = 6
"""Distinct values that are written out before the rest is only counted."""


def provenance(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Each distinct value of each field, with the number of trials that have it where there are several."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in facts(record).items():
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    counts.pop("traceback", None)
    rows = {name: distinct(values) for name, values in counts.items()}
    if finished := counts.get("finished"):
        rows["finished"] = f"{min(finished)} to {max(finished)}" if len(finished) > 1 else min(finished)
    return [{"field": name, "values": rows[name]} for name in sorted(rows)]


def distinct(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    listed = [f"{value} ({formatting.count(count, 'trial')})" for value, count in sorted(values.items())[:MAX_LISTED]]
    return "; ".join(listed) + (f"; and {len(values) - MAX_LISTED:,} more" if len(values) > MAX_LISTED else "")


def facts(record: Record) -> dict[str, str]:
    """All that is recorded of where a record comes from, by its name on disk."""
    return flat(msgspec.to_builtins(record.provenance))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested names joined by dots; values as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, str) else text(value)
    return found
