"""Where the records come from: versions, hardware and plugins; and which of these differ within a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.collect import grouped
from metabench.report.collect.labels import Label, labels, text

MAX_LISTED = 6
"""Distinct values that are written out before the rest is only counted."""

LONG = ("traceback", "defaults.suite", "defaults.algorithm")
"""Facts that a table of all trials has no room for."""
BUSY = 1.25
"""Processes for each core, above which a trial had less than its threads."""

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

    def of(self, record: Record) -> str | None:
        """As text; None where it is not recorded."""
        value = self.value(record)
        return None if value is None else str(value) or "unknown"


FIELDS = (
    Field("metabench", attrgetter("provenance.metabench"), f"{SCORES} {TIMES}"),
    Field("git commit", attrgetter("provenance.git"), SCORES),
    Field("the suite's plugin", lambda record: plugin(record, "suite"), "The test tasks may not be the same ones."),
    Field("the algorithm's plugin", lambda record: plugin(record, "algorithm"), SCORES, within=True),
    Field("the algorithm's code", attrgetter("provenance.digests.algorithm"), SCORES, within=True),
    Field("torch", attrgetter("provenance.torch"), f"{SCORES} {TIMES}"),
    Field("deterministic", attrgetter("provenance.deterministic"), "Scores may differ by rounding."),
    Field("device", attrgetter("provenance.device"), TIMES),
    Field("processor", attrgetter("provenance.cpu"), TIMES),
    Field("threads", attrgetter("provenance.threads"), TIMES),
    Field("strategy", lambda record: record.strategy or None, TIMES, within=True),
)


def plugin(record: Record, kind: str) -> str | None:
    """Where a plugin comes from; nothing of a file whose code is known: comments are no difference."""
    origin: str | None = getattr(record.provenance.plugins, kind)
    known = getattr(record.provenance.digests, kind) is not None
    return None if origin and origin.startswith("sha256 ") and known else origin


def provenance(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Each distinct value of each field, with the number of trials that have it where there are several."""
    records = list(records)
    values = grouped(fact for record in records for fact in facts(record).items() if fact[0] not in LONG)
    rows = {name: distinct(Counter(of_trials)) for name, of_trials in values.items()}
    if len(set(finished := values.get("finished", []))) > 1:
        rows["finished"] = f"{min(finished)} to {max(finished)}"
    if loads := [load for record in records for load in record.provenance.load or ()]:
        rows["load"] = f"{min(loads):.1f} to {max(loads):.1f}"
    return [{"field": name, "values": rows[name]} for name in sorted(rows)]


def distinct(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    listed = [f"{value} ({formatting.count(count, 'trial')})" for value, count in sorted(counts.items())[:MAX_LISTED]]
    return "; ".join(listed) + (f"; and {len(counts) - MAX_LISTED:,} more" if len(counts) > MAX_LISTED else "")


def facts(record: Record) -> dict[str, str]:
    """All that is recorded of where a record comes from, by its name on disk."""
    return flat(msgspec.to_builtins(record.provenance))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested names joined by dots; values as text."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= flat(value, f"{prefix}{name}.")
        else:
            texts[f"{prefix}{name}"] = value if isinstance(value, str) else text(value)
    return texts


def mixtures(records: Iterable[Record]) -> list[str]:
    """A plain sentence for each thing that differs among trials that are compared; none where nothing does."""
    records = sorted(records, key=lambda record: record.trial.id)
    names = labels(records)
    return [said for field in FIELDS for said in mixed(field, records, names)]


def mixed(field: Field, records: Sequence[Record], names: Mapping[str, Label]) -> Iterator[str]:
    """Places where the same values differ are named together: `s, t: torch differs: 2.9 (a), 2.10 (b). ...`."""
    places = grouped((compared_in(field, names[record.trial.id]), record) for record in records)
    known = {place: holders(field, members, names) for place, members in places.items()}
    several = {place: values for place, values in known.items() if len(values) > 1}
    alike = grouped((str(values if field.within else list(values)), place) for place, values in several.items())
    for together in alike.values():
        values = []
        for value in known[together[0]]:
            who = list(dict.fromkeys(name for place in together for name in known[place][value]))
            values.append(f"{value} ({formatting.shortened(who, 4 if len(who) <= 4 else 2)})")
        yield f"{', '.join(together)}: {field.name} differs: {formatting.shortened(values)}. {field.consequence}"


def busy(records: Iterable[Record]) -> list[str]:
    """A sentence where trials ran beside more work than the machine has cores for."""
    loads = [(record.provenance.load, record.provenance.cores) for record in records]
    known = [(load, cores) for load, cores in loads if load and cores]
    crowded = [(max(load), cores) for load, cores in known if max(load) > BUSY * cores]
    if not crowded:
        return []
    which_known = "" if len(known) == len(loads) else " whose load is known"
    which = f"{len(crowded)} of {formatting.count(len(known), 'trial')}{which_known} ran"
    load, cores = max(crowded)
    return [f"{which} on a busy machine (load up to {load:.0f} on {cores} cores): times may be too long."]


def compared_in(field: Field, label: Label) -> str:
    """Where the trials of this label stand side by side: on a suite, or within one algorithm on it."""
    return f"{label.algorithm} on {label.suite}" if field.within else label.suite


def holders(field: Field, records: Iterable[Record], names: Mapping[str, Label]) -> dict[str, list[str]]:
    """Each known value, in order, and who has it: algorithms, or seeds of one."""
    members = grouped(
        (value, f"seed {record.trial.seed}" if field.within else names[record.trial.id].algorithm)
        for record in records
        if (value := field.of(record)) is not None
    )
    return dict(sorted(members.items()))
