"""Several results folders as one: other machines, other days."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from metabench.records import store
from metabench.records.record import Record

Choice = tuple[str, Path, Path]
"""Why one of two records of a trial was taken, the folder it is in, and the other's."""

DIFFERENT, FAILED = "whose scores differ", "of which one failed"


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
    kept: dict[str, Record] = {}
    roots: dict[str, Path] = {}
    clashes: dict[Choice, list[str]] = {}
    for folder in {os.path.realpath(each): Path(each) for each in folders}.values():
        for record in store.records(folder):
            if not record.trial.budget.test_tasks:  # one of tuning, which was never tested
                continue
            name = record.trial.id
            if name in kept:
                first, before = kept[name], roots[name]
                better = record.status == "ok" and first.status != "ok"
                if why := clash(before, first, folder, record):
                    taken, other = (folder, before) if better else (before, folder)
                    clashes.setdefault((why, taken, other), []).append(name)
                if not better:
                    continue
            kept[name], roots[name] = record, folder
    notes = tuple(sentence(*choice, names) for choice, names in clashes.items())
    return Merged(tuple(kept[name] for name in sorted(kept)), roots, notes)


def clash(one: Path, first: Record, other: Path, second: Record) -> str:
    """How two records of one trial differ, if they do so in what they found."""
    if (first.status == "ok") != (second.status == "ok"):
        return FAILED
    if first.scores_sha256 and second.scores_sha256:
        same = first.scores_sha256 == second.scores_sha256
    else:  # from before there were checksums
        same = store.scores(one, first) == store.scores(other, second)
    return "" if same else DIFFERENT


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
    return "+".join(dict.fromkeys(name_of(Path(folder)) for folder in folders))
