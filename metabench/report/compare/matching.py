"""Which configuration after a change is the one before it: by its settings, or else by its name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import msgspec

from metabench.records.trials import Trial
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import text

AT_TEST = ("test_steps",)
"""Fields of the budget without which two scores are not of the same thing; the first test tasks are common."""


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
    for key in (exactly, on_the_same_tasks, by_name):
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
    sides = []
    for groups in (left, right):
        found: dict[Hashable, list[Configuration]] = {}
        for group in groups:
            found.setdefault(key(group), []).append(group)
        sides.append(found)
    first, second = sides
    return [(a[0], second[name][0]) for name, a in first.items() if len(a) == len(second.get(name, ())) == 1]


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
    changed = differences(one, two)
    reasons = []
    if one.suite_parameters != two.suite_parameters:
        reasons.append("other test tasks")
    if before.protocol != after.protocol:
        reasons.append(f"{before.protocol} before, {after.protocol} after")
    if any(getattr(one.budget, name) != getattr(two.budget, name) for name in AT_TEST):
        reasons.append("scored after other numbers of inner steps")
    if before.steps and after.steps and before.metric != after.metric:
        reasons.append(f"{before.metric} before, {after.metric} after")
    return BeforeAfter(before, after, changed, "; ".join(reasons))


def differences(one: Trial, two: Trial) -> tuple[str, ...]:
    """`inner_lr 0.01 → 0.02`, by name."""
    first, second = ({name: text(value) for name, value in trial.settings().items()} for trial in (one, two))
    names = [*first, *(name for name in second if name not in first)]
    return tuple(
        f"{name} {first.get(name, 'none')} → {second.get(name, 'none')}"
        for name in names
        if first.get(name) != second.get(name)
    )
