"""Two experiments, before and after a change: what improved, what got worse, and what is noise.

Scores are compared on common seeds and test tasks. All comparisons share one error rate, and their intervals hold at
once: a change that does nothing is called one in at most 5% of all calls, however many algorithms are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from metabench.report.collect.configurations import Configuration, collect
from metabench.report.collect.labels import Label, labels
from metabench.report.collect.merge import Merged
from metabench.report.collect.provenance import mixtures
from metabench.report.compare.matching import BeforeAfter, machines, pair, same_machine
from metabench.report.statistics.intervals import Array, Interval, difference, interval, stack
from metabench.report.statistics.simultaneous import corrected, corrected_p

Verdict = Literal["improved", "worse", "noise", "same", "not comparable"]


@dataclass(frozen=True)
class Change:
    """One configuration before and after."""

    suite: str
    algorithm: str
    protocol: str
    metric: str
    higher_is_better: bool
    verdict: Verdict = "not comparable"
    why: str = ""
    """Of a verdict that the numbers alone do not explain."""
    changed: tuple[str, ...] = ()
    """Settings that are not the same."""
    before: Interval | None = None
    after: Interval | None = None
    """Both over the common seeds and tasks."""
    difference: Interval | None = None
    """After - before, in the metric's unit; beyond chance where it leaves 0 out."""
    p: float | None = None
    """Of no difference, corrected."""
    time_ratio: float | None = None
    """Training time after / before; None where the times are not comparable."""
    curves: tuple[tuple[float, ...], ...] = ((), ())
    """Validation scores before and after, at the common updates: means over the common seeds."""


class Comparison(NamedTuple):
    """All of it."""

    changes: tuple[Change, ...]
    """By suite and algorithm."""
    notes: tuple[str, ...]
    """What else is not the same: versions, hardware, mixtures within either side."""

    @property
    def worse(self) -> bool:
        return any(change.verdict == "worse" for change in self.changes)


def compare(before: Merged, after: Merged) -> Comparison:
    """Every configuration of the two; `not comparable` is a row with a reason."""
    names = labels([*before.records, *after.records], apart=False)
    couples = pair(*(collect(side.records, side.roots) for side in (before, after)))
    sides = {"before": before, "after": after}
    notes = [f"{name}: {note}" for name, side in sides.items() for note in (*side.notes, *mixtures(side.records))]
    return Comparison(verdicts(couples, names), (*machines(couples), *notes))


def verdicts(couples: Sequence[BeforeAfter], names: Mapping[str, Label]) -> tuple[Change, ...]:
    """Each couple's verdict, all of them one family of comparisons."""
    weighed = [measure_change(couple, names) for couple in couples]
    count = sum(change.difference is not None for change in weighed)
    changes = [apply_correction(each, each.difference, count) if each.difference else each for each in weighed]
    return tuple(sorted(changes, key=lambda change: (change.suite, change.algorithm, change.protocol)))


def measure_change(couple: BeforeAfter, names: Mapping[str, Label]) -> Change:
    """The two side by side, before it is known how many are compared."""
    one, two = couple.before, couple.after
    known = two or one
    assert known is not None
    label = names[known.records[0].trial.id]
    change = Change(
        label.suite, label.algorithm, known.protocol, known.metric, known.higher_is_better, changed=couple.changed
    )
    if one is None or two is None or couple.obstacle:
        return replace(change, why=couple.obstacle)
    first, second = one.final, two.final
    seeds = sorted(first.keys() & second.keys())
    lost = [r for r in two.records if r.trial.seed in first and r.trial.seed not in second]
    if not seeds and not lost:
        return replace(change, why=without_seeds(first, second))
    reasons = {f"seed {record.trial.seed} was ok before, and now: {record.status}" for record in lost}
    change = replace(change, verdict="worse" if lost else "noise", why="; ".join(sorted(reasons)))
    if not seeds:
        return change
    tasks = min(len(side[seed]) for side in (first, second) for seed in seeds)
    old, new = ({seed: side[seed][:tasks] for seed in seeds} for side in (first, second))
    same = all(np.array_equal(old[seed], new[seed]) for seed in seeds)
    return replace(
        change,
        verdict="same" if same and not lost else change.verdict,
        before=interval(stack(old)),
        after=interval(stack(new)),
        difference=difference(new, old),
        time_ratio=time_ratio(one, two, seeds),
        curves=curves(one, two, seeds),
    )


def without_seeds(before: Mapping[int, Array], after: Mapping[int, Array]) -> str:
    """Why nothing is paired."""
    if not before or not after:
        return f"no trial is ok {'before' if after else 'after' if before else 'on either side'}"
    return "no seed in common"


def apply_correction(change: Change, alone: Interval, comparisons: int) -> Change:
    """The interval as one of so many, and the verdict that comes from it."""
    gap = corrected(alone, comparisons)
    change = replace(change, difference=gap, p=corrected_p(alone.p, comparisons))
    if change.verdict != "noise" or gap.includes_zero:
        return change
    return replace(change, verdict="improved" if (gap.mean > 0) == change.higher_is_better else "worse")


def time_ratio(before: Configuration, after: Configuration, seeds: Sequence[int]) -> float | None:
    """Training time after / before, over the common seeds; None for what was not trained, or not on one machine."""
    sides = [[r for r in group.scored_records if r.trial.seed in seeds] for group in (before, after)]
    old, new = (sum(record.train_seconds for record in side) for side in sides)
    return new / old if old > 0 and new > 0 and same_machine(*sides) else None


def curves(before: Configuration, after: Configuration, seeds: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """See Change.curves; updates that are missing on one side are left out."""
    sides = [
        [{point.update: point.score for point in r.curve} for r in group.scored_records if r.trial.seed in seeds]
        for group in (before, after)
    ]
    shared = sorted(set.intersection(*(set(curve) for side in sides for curve in side)))
    return tuple(tuple(float(np.mean([curve[update] for curve in side])) for update in shared) for side in sides)
