"""Which configuration after a change is the one before it; which settings, versions and hardware are not the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from metabench.records.provenance import Digests
from metabench.records.record import Record
from metabench.records.trials import Trial
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import text
from metabench.report.collect.provenance import FIELDS, TIMES, Field
from metabench.report.formatting import shortened

UNLIKE = {"other code of the suite": "suite", "other data": "data", "other test tasks": "tests"}
"""Digests without which two scores are not of the same thing. The algorithm's code may be the change itself."""
MEANT = ("metabench", "git commit", "the algorithm's plugin", "the algorithm's code", "strategy")
"""Facts in which a difference may be the change itself: it is told, and nothing is said against it."""


class BeforeAfter(NamedTuple):
    """A configuration before and after; None where there is none."""

    before: Configuration | None
    after: Configuration | None
    changed: tuple[str, ...] = ()
    """Settings that are not the same: `inner_lr 0.01 → 0.02`."""
    obstacle: str = ""
    """Why the two cannot be compared."""


def pair(before: Sequence[Configuration], after: Sequence[Configuration]) -> list[BeforeAfter]:
    """Every configuration once: of equal settings, or alone of its suite and algorithm on both sides."""
    couples, left, right = [], list(before), list(after)
    for key in (of_the_same_code, exactly, on_the_same_tasks, by_name):
        for first, second in matched(left, right, key):
            left.remove(first)
            right.remove(second)
            couples.append(couple(first, second))
    couples += [BeforeAfter(group, None, obstacle="only before") for group in left]
    couples += [BeforeAfter(None, group, obstacle="only after") for group in right]
    return couples


def matched(
    left: Sequence[Configuration], right: Sequence[Configuration], key: Callable[[Configuration], Hashable]
) -> list[tuple[Configuration, Configuration]]:
    """The two of each key that there is exactly once on either side."""
    first, second = (grouped((key(group), group) for group in groups) for groups in (left, right))
    return [(a[0], second[name][0]) for name, a in first.items() if len(a) == len(second.get(name, ())) == 1]


def of_the_same_code(group: Configuration) -> Hashable:
    return exactly(group), *(tuple(known(group, name)) for name in Digests.__struct_fields__)


def known(group: Configuration, name: str) -> list[str]:
    """The digests of that name that its records have."""
    values = {getattr(record.provenance.digests, name) for record in group.records}
    return sorted(values - {None})


def unlike(old: list[str], new: list[str]) -> bool:
    """Whether two sides are known to differ."""
    return bool(old and new) and old != new


def exactly(group: Configuration) -> Hashable:
    return msgspec.structs.replace(group.records[0].trial, seed=0).id, group.protocol


def on_the_same_tasks(group: Configuration) -> Hashable:
    trial = group.records[0].trial
    suite = msgspec.json.encode(trial.suite_parameters, order="sorted")
    return trial.suite, suite, trial.algorithm, group.protocol, trial.budget.test_steps


def by_name(group: Configuration) -> Hashable:
    trial = group.records[0].trial
    return trial.suite, trial.algorithm


def couple(before: Configuration, after: Configuration) -> BeforeAfter:
    """The two, with what differs."""
    one, two = before.records[0].trial, after.records[0].trial
    obstacles = {
        **{why: unlike(known(before, name), known(after, name)) for why, name in UNLIKE.items()},
        f"{before.protocol} before, {after.protocol} after": before.protocol != after.protocol,
        "scored after other numbers of inner steps": one.budget.test_steps != two.budget.test_steps,
        f"{before.metric} before, {after.metric} after": len({before.metric, after.metric} - {""}) > 1,
    }
    obstacles["other test tasks"] |= one.suite_parameters != two.suite_parameters
    return BeforeAfter(before, after, differences(one, two), "; ".join(why for why, so in obstacles.items() if so))


def differences(one: Trial, two: Trial) -> tuple[str, ...]:
    """`inner_lr 0.01 → 0.02`, by name."""
    first, second = ({name: text(value) for name, value in trial.settings().items()} for trial in (one, two))
    names = [*first, *(name for name in second if name not in first)]
    return tuple(
        f"{name} {first.get(name, 'none')} → {second.get(name, 'none')}"
        for name in names
        if first.get(name) != second.get(name)
    )


def machines(couples: Sequence[BeforeAfter]) -> list[str]:
    """A sentence for each fact that is not the same on both sides, with whom it concerns."""
    sides = [(couple.before, couple.after) for couple in couples if couple.before and couple.after]
    sentences = grouped(
        (change_of(field, before.records, after.records), f"{after.algorithm} on {after.suite}")
        for before, after in sides
        for field in FIELDS
    )
    return [
        said if len(whom) == len(sides) else f"{shortened(list(dict.fromkeys(whom)))}: {said}"
        for said, whom in sentences.items()
        if said
    ]


def change_of(field: Field, before: Iterable[Record], after: Iterable[Record]) -> str:
    """`torch: 2.9 before, 2.12 after. ...`; nothing where it is the same, or not recorded on both sides."""
    old, new = distinct(field, before), distinct(field, after)
    if not old or not new or old == new:
        return ""
    consequence = "" if field.name in MEANT else f" {field.consequence}"
    return f"{field.name}: {shortened(old)} before, {shortened(new)} after.{consequence}"


def same_machine(before: Iterable[Record], after: Iterable[Record]) -> bool:
    """Whether all trials ran on hardware and versions whose times can be compared, as far as is recorded."""
    both = [*before, *after]
    return all(
        len(distinct(field, both)) <= 1 for field in FIELDS if TIMES in field.consequence and field.name not in MEANT
    )


def distinct(field: Field, records: Iterable[Record]) -> list[str]:
    """The different values that are recorded, in order."""
    return sorted({value for record in records if (value := field.of(record)) is not None})
