"""What is significant and what is not, in plain sentences, and how much more it would take.

A difference is significant if its p value is below 0.05 after Holm's correction over all pairs of its suite and
protocol. What is not significant is not equality: the sentence says what the design could have found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metabench.report import formatting
from metabench.report.analysis.pairs import MIN_SUITES, Pair, all_pairs, contests, over_suites
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics import power
from metabench.report.statistics.comparisons import ALPHA
from metabench.report.statistics.intervals import paired

MIN_SEEDS = 3
"""Below this nothing can be said of how seeds differ, or hardly."""
MAX_LISTED = 8
"""Pairs that are written out before the rest is only counted."""


class Findings(NamedTuple):
    """Sentences about one suite."""

    found: tuple[str, ...]
    """Who leads and whether that is significant, and where there are too few seeds to say."""
    open: tuple[str, ...]
    """What is not significant, and what it would take."""


def findings(groups: Sequence[Configuration]) -> Findings:
    """Of one suite, under each of its protocols; nothing where there are no two algorithms to compare."""
    several = contests(groups)
    decided, undecided = [], []
    for (_, protocol), members in several.items():
        pairs = all_pairs(members)
        lead = headline(members, pairs)
        decided += [f"{protocol.capitalize()}: {lead}" if len(several) > 1 else lead, *scarce(pairs)]
        undecided += not_findings(pairs)
    return Findings(tuple(decided), tuple(undecided))


def not_findings(pairs: Sequence[Pair]) -> list[str]:
    """The pairs that do not differ significantly; the first are written out."""
    alike = [pair for pair in pairs if not pair.significant]
    lines = [not_apart(pair) for pair in alike[:MAX_LISTED]]
    if len(alike) > MAX_LISTED:
        more = len(alike) - MAX_LISTED
        lines.append(f"And {more} more pairs that do not differ significantly: tables/pairs.csv has all of them.")
    return lines


def headline(members: Sequence[Configuration], pairs: Sequence[Pair]) -> str:
    """Who leads `members`, best first, and over whom significantly."""
    best, apart = members[0].algorithm, [pair for pair in pairs if pair.significant]
    behind = [pair.second.algorithm for pair in apart if pair.first is members[0]]
    verb = "differs" if len(apart) == 1 else "differ"
    count = f"{len(apart)} of {formatting.count(len(pairs), 'pair')} {verb} significantly"
    if not behind:
        return f"{best} has the best mean, but does not differ significantly from any other; {count}."
    whom = formatting.listed(behind) if len(behind) < len(members) - 1 or len(members) == 2 else "every other"
    alone = min(pair.difference.seeds for pair in pairs) == 1
    if alone:
        return f"{best} is better than {whom}, on these tasks, as far as 1 seed can say; {count}."
    return f"{best} is significantly better than {whom}; {count}."


def scarce(pairs: Sequence[Pair]) -> list[str]:
    """Warnings about too few seeds or none in common."""
    fewest = min(pair.difference.seeds for pair in pairs)
    if fewest == 0:
        return ["Some pairs have no seed in common: their difference is not paired, and its interval wider for it."]
    if fewest == 1:
        return [
            "With 1 seed, an interval speaks of other test tasks and not of training again: no difference here "
            f"says anything of the algorithms. At least {MIN_SEEDS} seeds are needed, 5 are better."
        ]
    if fewest < MIN_SEEDS:
        return [
            f"With {fewest} seeds, a nominal 95% interval may cover as little as 90%: at least {MIN_SEEDS} seeds "
            "are needed, 5 are better."
        ]
    return []


def not_apart(pair: Pair) -> str:
    """One pair that does not differ significantly, and what it would take."""
    metric = pair.first.metric
    gap = formatting.difference(pair.difference.mean, pair.difference.half, metric)
    names = f"{pair.first.algorithm} and {pair.second.algorithm}"
    judged = f"p = {pair.adjusted:.2g}"
    if pair.family > 1:
        judged += f" after Holm's correction over {pair.family} pairs"
    return f"Not significant: {names} differ by {gap} ({judged}).{advice(pair)}"


def advice(pair: Pair) -> str:
    """How small a difference this design finds, and how many seeds or tasks would find the one that was seen."""
    cells = paired(pair.first.final, pair.second.final)
    parts = power.components(cells) if cells is not None else None
    if cells is None or parts is None:
        return ""
    (seeds, tasks), gap, alpha = cells.shape, pair.difference.mean, ALPHA / pair.family
    smallest = size(power.detectable(parts, seeds, tasks, alpha), pair.first.metric)
    more = power.seeds_needed(parts, gap, tasks, alpha) if gap else None
    wider = power.tasks_needed(parts, gap, seeds, alpha) if gap else None
    design = f"{formatting.count(seeds, 'seed')} and {formatting.count(tasks, 'task')}"
    ways = [formatting.count(more, "seed")] if more else []
    ways += [f"{formatting.count(wider, 'task')} with the seeds there are"] if wider else []
    needed = f"would take about {' or '.join(ways)}" if ways else f"would take more than {power.MAX_SEEDS} seeds"
    return f" {design} find {smallest} or more, 8 times in 10; to find what was seen here {needed}."


def size(value: float, metric: str) -> str:
    """`2.1 points` of an accuracy, `0.031` of anything else."""
    return f"{100 * value:.3g} points" if formatting.is_share(metric) else formatting.decimal(value)


def across(groups: Sequence[Configuration]) -> list[str]:
    """Of all suites together; none where there is only one."""
    overall = over_suites(groups)
    if overall is None:
        return []
    ranking, pairs = overall
    order = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(ranking.names, ranking.ranks))
    lines = [f"Average rank over {ranking.blocks} suites: {order}."]
    if ranking.blocks < MIN_SUITES:
        lines.append(
            f"That is not significant: with {ranking.blocks} suites not even an algorithm that wins on all "
            f"of them is (Wilcoxon's signed ranks); at least {MIN_SUITES} suites are needed."
        )
        return lines
    apart = [f"{first} and {second} (p = {p:.2g})" for (first, second), p in pairs.items() if p < ALPHA]
    by = "by Wilcoxon's signed ranks with Holm's correction"
    lines.append(
        f"Significantly different {by}: {formatting.listed(apart)}."
        if apart
        else f"None of {formatting.count(len(pairs), 'pair')} differs significantly {by}."
    )
    return lines
