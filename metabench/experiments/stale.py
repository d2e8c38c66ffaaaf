"""Finished trials whose code or data were changed since: found by the digests in their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from metabench.records import store
from metabench.records.files import DamagedError
from metabench.records.matching import changes
from metabench.records.provenance import Digests
from metabench.records.record import Record
from metabench.records.trials import Trial

if TYPE_CHECKING:  # torch is imported where a digest is made
    from metabench.experiments.suite_builder import SuiteBuilder


class Outdated(NamedTuple):
    """What was found in a results folder."""

    records: dict[str, str]
    """By trial id the checksum of a record of other code or data than there is now."""
    reasons: Counter[str]
    """What was changed, with the number of trials that it concerns."""
    unknown: int
    """Trials whose records have no digests."""

    def lines(self, again: bool) -> Iterator[str]:
        """For the user: what no longer matches, and whether it is run again."""
        if self.records:
            counts = ", ".join(f"{reason} ({number})" for reason, number in sorted(self.reasons.items()))
            then = "run again" if again else "kept as they are; --rerun-changed runs them again"
            trials = counted(len(self.records), "do not match", "does not match")
            yield f"{trials} what was changed since: {counts}; {then}."
        if self.unknown:
            yield (
                f"{counted(self.unknown, 'are', 'is')} of an earlier metabench, which kept no digests: whether code "
                "and data are the same today is unknown."
            )


def counted(number: int, many: str, one: str) -> str:
    """`1 finished trial does ...`, `2 finished trials do ...`."""
    return f"1 finished trial {one}" if number == 1 else f"{number} finished trials {many}"


def outdated(root: Path, finished: Sequence[Trial], builder: SuiteBuilder, with_data: bool) -> Outdated:
    """Compare the records of these trials with the code, and if asked with the data, as they are now."""
    from metabench.engine.digests import code_digests, code_now

    records: dict[str, str] = {}
    reasons: Counter[str] = Counter()
    known: dict[bytes, Digests] = {}
    unknown = 0
    code = code_now(builder.registry, finished)
    for trial in finished:
        record = record_of(root, trial)
        if record is None:
            continue
        unknown += record.provenance.digests == Digests() and record.status == "ok"
        found = changes(record, code_digests(code, trial))
        if with_data and record.provenance.digests.data is not None:
            found += changes(record, data_now(trial, builder, known))
        if found:
            records[trial.id] = record.checksum
            reasons.update(found)
    return Outdated(records, reasons, unknown)


def record_of(root: Path, trial: Trial) -> Record | None:
    """The record of a finished trial; None where it was damaged meanwhile."""
    try:
        return store.record_of(root, trial.id)
    except DamagedError:
        return None


def data_now(trial: Trial, builder: SuiteBuilder, known: dict[bytes, Digests]) -> Digests:
    """Digests of the data that a trial would be computed from now; `known` keeps those of each suite."""
    from metabench.engine.digests import data_digests

    key = msgspec.json.encode([trial.suite, trial.suite_parameters], order="sorted")
    if key not in known:
        try:
            suite = builder.build(trial.suite, trial.suite_parameters)
            suite.prepare()
            known[key] = data_digests(trial, suite)
        except (Exception, SystemExit):  # data that cannot be read cannot be compared
            known[key] = Digests()
    return known[key]
