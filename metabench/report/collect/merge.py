"""Several results folders as one: other machines, other days."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from metabench.records import store
from metabench.records.packs import opened
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.collect import grouped


class Copy(NamedTuple):
    """One of the records of a trial, and where it is."""

    folder: Path
    record: Record


class Merged(NamedTuple):
    """Every trial once."""

    records: tuple[Record, ...]
    roots: dict[str, Path]
    """By trial id: the folder that holds its scores."""
    notes: tuple[str, ...]
    """What the reader should know of trials that were in several folders."""

    @property
    def name(self) -> str:
        """What a report of it is called: the folders' names."""
        return title(self.roots.values()) or "results"


def merge(folders: Iterable[str | Path]) -> Merged:
    """The records of all folders. Of two of one trial the one that is ok is taken, else the first."""
    places = {os.path.realpath(each): opened(each) for each in folders}.values()
    damaged = {folder: store.damaged(folder) for folder in places}
    copies = grouped(
        (record.trial.id, Copy(folder, record))
        for folder in places
        for record in store.records(folder)
        if record.trial.budget.test_tasks  # one of tuning was never tested
    )
    kept = {
        name: next((one for one in same if one.record.status == "ok" and name not in damaged[one.folder]), same[0])
        for name, same in copies.items()
    }
    clashes = grouped(
        ((clash(kept[name], other), kept[name].folder, other.folder), name)
        for name, same in copies.items()
        for other in same
        if other is not kept[name]
    )
    notes = (
        *(sentence(*choice, names) for choice, names in clashes.items() if choice[0]),
        *(
            f"In '{folder}' {formatting.count(len(found), 'trial')} cannot be counted: {listed(found)}. The same "
            "`metabench run` computes them again."
            for folder, found in damaged.items()
            if found
        ),
    )
    roots = {name: one.folder for name, one in kept.items()}
    return Merged(tuple(kept[name].record for name in sorted(kept)), roots, notes)


def listed(damaged: Mapping[str, str]) -> str:
    """`s-m-s0-... (it is cut short)`, for a few."""
    return formatting.shortened([f"{name} ({reason})" for name, reason in damaged.items()])


def clash(taken: Copy, other: Copy) -> str:
    """How two records of one trial differ, if they do so in their scores."""
    if (taken.record.status == "ok") != (other.record.status == "ok"):
        return "of which one failed"
    if taken.record.scores_sha256 and other.record.scores_sha256:
        same = taken.record.scores_sha256 == other.record.scores_sha256
    else:  # from before there were checksums
        same = store.scores(*taken) == store.scores(*other)
    return "" if same else "whose scores differ"


def sentence(why: str, taken: Path, other: Path, names: list[str]) -> str:
    """`1 trial is in 'a' and in 'b', whose scores differ (s-m-s0-...): that of 'a' was taken.`"""
    many = len(names) > 1
    count = f"{len(names)} trials are" if many else "1 trial is"
    which = f"those of '{taken}' were" if many else f"that of '{taken}' was"
    return f"{count} in '{taken}' and in '{other}', {why} ({names[0]}): {which} taken."


def name_of(folder: Path) -> str:
    """The last part of a folder's path, wherever it was called from."""
    return Path(os.path.realpath(folder)).name


def title(folders: Iterable[str | Path]) -> str:
    """What a report of these folders is called: `ONE`, `ONE+OTHER`."""
    return "+".join(dict.fromkeys(name_of(opened(folder)) for folder in folders))
