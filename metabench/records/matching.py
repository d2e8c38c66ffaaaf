"""Which records were computed from the same code, data and test tasks, as their digests say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from metabench.records.provenance import Digests
from metabench.records.record import Record
from metabench.records.trials import Part, Trial

SHOWN = 8
"""Digits of a digest in a label."""
UNKNOWN = "unknown"
NAMES = {"algorithm": "code", "suite": "code", "data": "data", "tests": "tests"}
"""The fields of Digests as labels have them."""


class Marks(NamedTuple):
    """What tells a trial from others of equal settings; empty where all of them match."""

    suite: Mapping[str, str]
    algorithm: Mapping[str, str]


NONE = Marks(MappingProxyType({}), MappingProxyType({}))


def marks(records: Iterable[Record]) -> dict[str, Marks]:
    """By trial id. What is unknown is taken to match, unless there are several others that it could match."""
    records = list(records)
    found = {record.trial.id: NONE for record in records}
    for members, fields in mixed(records):
        for record in members:
            told = {NAMES[name]: (getattr(record.provenance.digests, name) or UNKNOWN)[:SHOWN] for name in fields}
            part = "algorithm" if "algorithm" in fields else "suite"
            found[record.trial.id] = found[record.trial.id]._replace(**{part: told})
    return found


def mixed(records: Sequence[Record]) -> Iterator[tuple[list[Record], list[str]]]:
    """Each set of trials that should match and do not, with the fields in which they differ: suites, algorithms."""
    apart: dict[str, Hashable] = {}
    for members in alike(records, lambda trial: encoded(trial, "suite")):
        fields = differing(members, ("suite", "data")) or differing(members, ("tests",))
        if fields:
            yield members, fields
        for record in members:
            apart[record.trial.id] = tuple(getattr(record.provenance.digests, name) for name in fields)
    for members in alike(records, lambda trial: (encoded(trial, "suite", "algorithm", "trial"), apart[trial.id])):
        if fields := differing(members, ("algorithm",)):
            yield members, fields


def alike(records: Iterable[Record], key: Callable[[Trial], Hashable]) -> list[list[Record]]:
    """The records in sets of equal keys."""
    found: dict[Hashable, list[Record]] = {}
    for record in records:
        found.setdefault(key(record.trial), []).append(record)
    return list(found.values())


def encoded(trial: Trial, *parts: Part) -> bytes:
    """The names and settings of these parts."""
    names = [trial.suite, *([trial.algorithm] if "algorithm" in parts else [])]
    return msgspec.json.encode([names, trial.settings(*parts)], order="sorted")


def differing(records: Iterable[Record], fields: Iterable[str]) -> list[str]:
    """Those of which there are several known values."""
    digests = [record.provenance.digests for record in records]
    return [name for name in fields if len({getattr(each, name) for each in digests} - {None}) > 1]


def mismatches(records: Iterable[Record]) -> list[str]:
    """A sentence for all that does not match, and for what cannot be told; none where all matches."""
    records = list(records)
    found = [sentence(members, fields) for members, fields in mixed(records)]
    known = [record for record in records if record.provenance.digests != Digests()]
    unknown = [record for record in records if record.status == "ok" and record.provenance.digests == Digests()]
    if known and unknown:
        found.append(
            f"{trials(len(unknown))} of an earlier metabench, which kept no digests: whether code and data are "
            "those of the others is unknown."
        )
    return list(dict.fromkeys(found))


def sentence(members: Sequence[Record], fields: Sequence[str]) -> str:
    """`Suite 's' does not match in data: 1a2b (3 trials), 3c4d (1 trial). They are not compared or averaged.`"""
    trial = members[0].trial
    who = f"Algorithm '{trial.algorithm}' on '{trial.suite}'" if "algorithm" in fields else f"Suite '{trial.suite}'"
    told = []
    for name in fields:
        counts = Counter((getattr(record.provenance.digests, name) or UNKNOWN)[:SHOWN] for record in members)
        told.append(f"{NAMES[name]} {', '.join(f'{value} ({number})' for value, number in sorted(counts.items()))}")
    return (
        f"{who} was not the same for all trials: {'; '.join(told)}. What does not match is neither compared nor "
        "averaged; `metabench run --rerun-changed` computes it anew."
    )


def trials(number: int) -> str:
    return f"{number} trial is" if number == 1 else f"{number} trials are"


def changes(record: Record, now: Digests) -> list[str]:
    """What of a record's code and data is not as it is now, in words; what is unknown is no change."""
    trial, then = record.trial, record.provenance.digests
    words = {
        "algorithm": f"the code of algorithm '{trial.algorithm}'",
        "suite": f"the code of suite '{trial.suite}'",
        "data": f"the data of suite '{trial.suite}'",
        "tests": f"the test tasks of suite '{trial.suite}'",
    }
    pairs = ((name, getattr(then, name), getattr(now, name)) for name in words)
    return [words[name] for name, old, new in pairs if None not in (old, new) and old != new]
