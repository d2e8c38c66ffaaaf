"""Who leads on a suite, who may be as good, and how much more it would take to tell.

Not separated from the best is whoever may be the best itself: the interval of how far it is behind includes 0. That
is not equality, so a row says what this design could have found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from metabench.report import formatting
from metabench.report.analysis.pairs import MIN_SUITES, contests, over_suites, to_best
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics import power
from metabench.report.statistics.intervals import paired
from metabench.report.statistics.moderation import Prior
from metabench.report.statistics.simultaneous import ALPHA, Behind, seed_prior

MAX_LISTED = 4
"""Algorithms that a sentence names before it counts the rest."""
MIN_SEEDS = 3
"""Below this nothing can be said of how seeds differ, or hardly."""


class Findings(NamedTuple):
    """Of one suite."""

    found: tuple[str, ...]
    """Sentences: who leads, who is not separated, and where there are too few seeds to say."""
    open: tuple[dict[str, str], ...]
    """A row for each that is not separated from the best: what this design finds, and what it would take."""
    basis: tuple[str, ...] = ()
    """What the intervals of the differences rest on."""


def findings(groups: Sequence[Configuration]) -> Findings:
    """Of one suite, under each of its protocols; nothing where there are no two algorithms to compare."""
    several = contests(groups)
    decided, undecided, basis = [], [], []
    for (_, protocol), members in several.items():
        behind = to_best(members)
        lead = headline(members, behind)
        decided += [f"{protocol.capitalize()}: {lead}" if len(several) > 1 else lead, *scarce(members)]
        prior = seed_prior([group.final for group in members])
        basis += rests_on(members, prior)
        undecided += [
            needed(members[0], group, found, Design(math.comb(len(members), 2), prior))
            for group, found in zip(members[1:], behind[1:])
            if not found.separated
        ]
    return Findings(tuple(decided), tuple(undecided), tuple(dict.fromkeys(basis)))


def headline(members: Sequence[Configuration], behind: Sequence[Behind]) -> str:
    """Who leads `members`, best first, and who is not separated from it."""
    score, others = members[0].score(), list(zip(members[1:], behind[1:]))
    best = f"{members[0].algorithm} ({formatting.with_interval(score.mean, score.half, members[0].metric)})"
    close = [group.algorithm for group, found in others if not found.separated]
    if not close:
        second, found = others[0]
        whom = f"every other; next is {second.algorithm}" if len(others) > 1 else second.algorithm
        gap = formatting.behind(found.mean, (found.low, found.high), second.metric)
        points = " points" if formatting.is_share(second.metric) else ""
        return f"{best} is significantly better than {whom}, {gap}{points}."
    if len(close) == len(others):
        whom = "none of the others is" if len(others) > 1 else f"{close[0]} is not"
        return f"{best} has the best mean; {whom} separated from it."
    verb = "is" if len(close) == 1 else "are"
    names = formatting.listed(close) if len(close) <= MAX_LISTED else formatting.shortened(close)
    return f"{best} has the best mean; {names} {verb} not separated from it, the others are."


def scarce(members: Sequence[Configuration]) -> list[str]:
    """A warning about too few seeds or none in common with the best."""
    fewest = min(len(group.final.keys() & members[0].final.keys()) for group in members)
    if fewest == 0:
        return ["Some have no seed in common with the best: their difference is not paired, its interval wider."]
    if fewest < MIN_SEEDS:
        show = "cannot show" if fewest == 1 else "hardly show"
        which = f"{formatting.count(fewest, 'seed')} {show} how training differs from seed to seed"
        return [f"{which}: {MIN_SEEDS} are needed, 5 are better."]
    return []


class Design(NamedTuple):
    """What an interval depends on beside its own scores."""

    family: int
    """Pairs that are compared at once."""
    prior: Prior


def rests_on(members: Sequence[Configuration], prior: Prior) -> list[str]:
    """How many degrees of freedom the seeds give a difference, where all pairs share theirs."""
    if not prior.degrees:
        return []
    seeds = [len(one.final.keys() & other.final.keys()) for one, other in combinations(members, 2)]
    own = sorted({count - 1 for count in seeds if count > 1})
    more = "over 100" if prior.degrees > 100 else f"{prior.degrees:.1f}"
    few = f"{own[0]} to " if own[0] < own[-1] else ""
    return [
        f"Between seeds a difference has {few}{formatting.count(own[-1], 'degree')} of freedom of its own and {more} "
        "that all pairs share (Smyth 2004)."
    ]


def needed(best: Configuration, group: Configuration, found: Behind, design: Design) -> dict[str, str]:
    """How small a difference this design finds, and how many seeds or tasks would find the one that was seen."""
    seen = formatting.behind(found.mean, (found.low, found.high), group.metric)
    row = {
        "algorithm": group.algorithm,
        "behind": seen,
        "p": f"{found.p:.2g}",
        "finds gaps of": "–",
        "would take": "–",
    }
    cells = paired(group.final, best.final)
    parts = power.components(cells) if cells is not None else None
    if cells is None or parts is None:
        return row
    (seeds, tasks), gap, alpha = cells.shape, found.mean, 1 - (1 - ALPHA) ** (1 / design.family)
    row["finds gaps of"] = size(power.detectable(parts, seeds, tasks, alpha, design.prior), group.metric)
    if gap:
        more = power.seeds_needed(parts, gap, tasks, alpha, design.prior)
        wider = power.tasks_needed(parts, gap, seeds, alpha, design.prior)
        row["would take"] = (
            f"{more or f'more than {power.MAX_SEEDS}'} seeds, or "
            + (f"{wider:,}" if wider else f"more than {power.MAX_TASKS:,}") + " tasks"
        )  # fmt: skip
    return row


def size(value: float, metric: str) -> str:
    """`2.1 points` of an accuracy, `0.031` of anything else."""
    return f"{100 * value:.3g} points" if formatting.is_share(metric) else formatting.decimal(value)


def across(groups: Sequence[Configuration]) -> list[str]:
    """Of all suites together; none where there is only one."""
    overall = over_suites(groups)
    if overall is None:
        return []
    ranking, pairs = overall
    order = formatting.shortened([f"{name} {mean:.2f}" for name, mean in zip(ranking.names, ranking.ranks)], 5)
    lines = [f"Average rank over {ranking.blocks} suites: {order}."]
    if ranking.blocks < MIN_SUITES:
        lines.append(
            f"No difference is significant: at least {MIN_SUITES} suites are needed (Wilcoxon's signed ranks)."
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
