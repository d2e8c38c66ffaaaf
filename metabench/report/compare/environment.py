"""What was not the same before and after a change, besides the change: versions and hardware."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from metabench.records.record import Record
from metabench.report.collect.provenance_differences import FIELDS, Field, short
from metabench.report.compare.matching import BeforeAfter

MEANT = ("metabench", "git commit", "the algorithm's plugin", "strategy")
"""Where a difference may be the change itself: it is told, and nothing is said against it."""
MACHINE = ("torch", "device", "processor", "threads")
"""Times are compared only where these are the same."""


def machines(couples: Sequence[BeforeAfter]) -> list[str]:
    """A sentence for each fact that is not the same on both sides, with whom it concerns."""
    both = [couple for couple in couples if couple.before and couple.after]
    found: dict[str, list[str]] = {}
    for couple in both:
        assert couple.before is not None
        assert couple.after is not None
        for field in FIELDS:
            old, new = values(field, couple.before.records), values(field, couple.after.records)
            if old and new and old != new:
                consequence = "" if field.name in MEANT else f" {field.consequence}"
                said = f"{field.name}: {short(old)} before, {short(new)} after.{consequence}"
                found.setdefault(said, []).append(f"{couple.after.algorithm} on {couple.after.suite}")
    return [
        said if len(whom) == len(both) else f"{short(list(dict.fromkeys(whom)))}: {said}"
        for said, whom in found.items()
    ]


def same_machine(before: Iterable[Record], after: Iterable[Record]) -> bool:
    """Whether all trials ran on hardware and versions whose times can be compared, as far as is recorded."""
    both = [*before, *after]
    return all(len(values(field, both)) <= 1 for field in FIELDS if field.name in MACHINE)


def values(field: Field, records: Iterable[Record]) -> list[str]:
    """The different values that are recorded, in order."""
    return sorted({str(value) or "unknown" for record in records if (value := field.value(record)) is not None})
