"""What was not the same for all the trials that a report compares: versions, plugins, hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from metabench.records.record import Record
from metabench.report.collect.labels import Label, labels

MAX_LISTED = 4
"""Values, and names beside each, that are written out."""

TIMES = "Times are not comparable."
SCORES = "Scores may differ for that reason alone."


class Field(NamedTuple):
    """A fact of provenance that should be the same for what is compared."""

    name: str
    value: Callable[[Record], Any]
    """None where it is not recorded."""
    consequence: str
    within: bool = False
    """Whether it need be the same for the trials of one algorithm only."""


FIELDS = (
    Field("metabench", attrgetter("provenance.metabench"), f"{SCORES} {TIMES}"),
    Field("git commit", attrgetter("provenance.git"), SCORES),
    Field("the suite's plugin", attrgetter("provenance.plugins.suite"), "The test tasks may not be the same ones."),
    Field("the algorithm's plugin", attrgetter("provenance.plugins.algorithm"), SCORES, within=True),
    Field("torch", attrgetter("provenance.torch"), f"{SCORES} {TIMES}"),
    Field("deterministic", attrgetter("provenance.deterministic"), "Scores may differ by rounding."),
    Field("device", attrgetter("provenance.device"), TIMES),
    Field("processor", attrgetter("provenance.cpu"), TIMES),
    Field("threads", attrgetter("provenance.threads"), TIMES),
    Field("strategy", lambda record: record.strategy or None, TIMES, within=True),
)


def mixtures(records: Iterable[Record]) -> list[str]:
    """A plain sentence for each thing that differs among trials that are compared; none where nothing does."""
    known = sorted(records, key=lambda record: record.trial.id)
    names = labels(known)
    found: dict[str, list[str]] = {}
    for field in FIELDS:
        for where, members in compared(known, names, field.within).items():
            if said := sentence(field, members, names):
                found.setdefault(said, []).append(where)
    return [f"{', '.join(places)}: {said}" for said, places in found.items()]


def compared(records: Iterable[Record], names: dict[str, Label], within: bool) -> dict[str, list[Record]]:
    """The trials that stand side by side: of a suite, or of one algorithm on it."""
    found: dict[str, list[Record]] = {}
    for record in records:
        label = names[record.trial.id]
        found.setdefault(f"{label.algorithm} on {label.suite}" if within else label.suite, []).append(record)
    return found


def sentence(field: Field, records: Iterable[Record], names: dict[str, Label]) -> str:
    """`torch differs: 2.9 (NAME), 2.10 (OTHER). ...`; nothing where it is the same."""
    who: dict[str, list[str]] = {}
    for record in records:
        if (value := field.value(record)) is not None:
            member = f"seed {record.trial.seed}" if field.within else names[record.trial.id].algorithm
            who.setdefault(str(value) or "unknown", []).append(member)
    if len(who) < 2:
        return ""
    values = [f"{value} ({short(list(dict.fromkeys(members)))})" for value, members in sorted(who.items())]
    return f"{field.name} differs: {short(values)}. {field.consequence}"


def short(names: list[str]) -> str:
    """A list that a sentence can hold."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
