"""The answer of a suite on one card: the task, who leads and by how much, what it cost, what a reader must know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from statistics import fmean
from typing import Any, NamedTuple

from metabench.report import formatting
from metabench.report.analysis.findings import Findings
from metabench.report.analysis.pairs import rank
from metabench.report.analysis.summary import cost, tasks_seen
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, first_of_each, selected_point
from metabench.report.collect.labels import pairs, text
from metabench.report.statistics.intervals import interval, stack

SIZES = {"ways": "way", "shots": "shot"}
TOLD = (*SIZES, "model")
"""What the task is said by, default or not."""
MOST_TOLD = 5
"""Other parameters that a card names before it counts them."""


class Card(NamedTuple):
    """One suite."""

    task: str
    lead: tuple[str, ...]
    """Who leads, one sentence a protocol, and whether there are seeds enough to say."""
    cost: str
    cautions: tuple[str, ...]


def card(groups: Sequence[Configuration], found: Findings) -> Card:
    """Of one suite's configurations, of which at least one was scored, and what was found of them."""
    scored = sorted((group for group in groups if group.steps), key=rank)
    lead = found.found or (alone(scored[0]),)
    cautions = (each for warn in WARNINGS for each in warn(first_of_each(scored)))
    return Card(task(groups), lead, f"{scored[0].algorithm}: {cost(scored[0])}.", tuple(cautions))


def task(groups: Sequence[Configuration]) -> str:
    """`5-way 1-shot, model=conv, 250 updates of 16 tasks, 600 test tasks`: of the suite what is not its default.

    The budget is that of most configurations, or from the least to the greatest."""
    trial, usual = groups[0].records[0].trial, groups[0].records[0].provenance.defaults.suite
    known = trial.settings("suite")
    known = {n: v for n, v in known.items() if n in TOLD or n.removeprefix("suite.") not in usual}
    known = dict(sorted(merged(known).items(), key=lambda each: each[0] != "model"))
    sizes = [f"{text(known.pop(name))}-{word}" for name, word in SIZES.items() if name in known]
    budgets = [(b.updates, b.meta_batch_size) for group in groups for b in [group.records[0].trial.budget]]
    usual_budget = max(budgets, key=budgets.count)
    alike = [usual_budget] if 2 * budgets.count(usual_budget) > len(budgets) else budgets
    updates, batch = (formatting.span(values) for values in zip(*alike))
    budget = f"{updates} updates of {batch} task{'s' * (batch != '1')}"
    told = formatting.shortened([pairs({name: value}) for name, value in known.items()], MOST_TOLD)
    parts = (" ".join(sizes), told, budget, f"{trial.budget.test_tasks:,} test tasks")
    return ", ".join(filter(None, parts))


def merged(known: Mapping[str, Any]) -> dict[str, Any]:
    """What two suites that are crossed have in common under the name that it has in either: `ways`, not `a.ways`."""
    values = grouped((name.rpartition(".")[2], value) for name, value in known.items())
    shared = {name for name, found in values.items() if len(found) > 1 and found.count(found[0]) == len(found)}
    short = {name: name.rpartition(".")[2] for name in known}
    return {short[name] if short[name] in shared else name: value for name, value in known.items()}


def alone(group: Configuration) -> str:
    score = group.score()
    return f"{group.algorithm}: {group.metric} {formatting.with_interval(score.mean, score.half, group.metric)}."


def unequal_budgets(groups: Sequence[Configuration]) -> Iterator[str]:
    """`a, b saw 5/16, c 1/2 of the tasks.`"""
    seen = {group.algorithm: tasks_seen(group) for group in groups if group.trained}
    most = max(seen.values(), default=0)
    less = grouped((Fraction(count, most), name) for name, count in seen.items() if 0 < count < most)
    near = {share: share.limit_denominator(20) or "less than 1/20" for share in sorted(less, reverse=True)}
    parts = [
        f"{formatting.shortened(less[share])} {'' if n else 'saw '}{near[share]}" for n, share in enumerate(near)
    ]
    if parts:
        yield f"{', '.join(parts)} of the tasks."


def worse_for_adapting(groups: Sequence[Configuration]) -> Iterator[str]:
    """Whose score after the last inner step is significantly worse than before the first."""
    worse = []
    for group in groups:
        change = interval(stack({seed: scores[-1] - scores[0] for seed, scores in group.steps.items()}))
        if not change.includes_zero and (change.mean > 0) != group.higher_is_better:
            worse.append(group.algorithm)
    if worse:
        yield f"Adaptation makes {formatting.shortened(worse)} worse."


def past_the_best(groups: Sequence[Configuration]) -> Iterator[str]:
    """Whose validation score, in most seeds, ended beyond the interval of the selected update's."""
    fell = []
    for group in groups:
        seeds = [record for record in group.scored_records if len(record.curve) > 1]
        falls = 0
        for record in seeds:
            best = selected_point(record) or record.curve[-1]
            drop = (best.score - record.curve[-1].score) * (1 if record.higher_is_better else -1)
            falls += drop > best.ci95 > 0
        if 2 * falls > len(seeds):
            fell.append(group.algorithm)
    if fell:
        yield f"Validation falls after the selected update: {formatting.shortened(fell)}."


def unlike_at_the_start(groups: Sequence[Configuration]) -> Iterator[str]:
    """Same initial weights, other scores before training: where inner rates differ, they are why."""
    start = {group.algorithm: fmean(r.curve[0].score for r in group.scored_records) for group in groups
             if all(record.curve for record in group.scored_records)}  # fmt: skip
    rates = {g.algorithm: text(g.records[0].trial.algorithm_parameters.get("inner_lr")) for g in groups}
    start = {name: score for name, score in start.items() if rates[name] != "null"}
    by_rate = grouped((rates[name], name) for name in start)
    if len(by_rate) > 1 and len(set(start.values())) > 1:
        yield f"Scores before training differ, as inner_lr does: {', '.join(by_rate)}."


WARNINGS: tuple[Callable[[Sequence[Configuration]], Iterator[str]], ...] = (
    unequal_budgets, worse_for_adapting, past_the_best, unlike_at_the_start,
)  # fmt: skip
