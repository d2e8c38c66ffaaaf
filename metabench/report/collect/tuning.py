"""Who was tuned, and how much; and a caution where what is compared was not tuned alike."""

from __future__ import annotations

from collections.abc import Iterable

from metabench.records.trials import Tuning
from metabench.report import formatting
from metabench.report.collect.configurations import Configuration


def tunings(groups: Iterable[Configuration]) -> dict[str, dict[str, Tuning | None]]:
    """By suite, in which anything was tuned, and by algorithm."""
    found: dict[str, dict[str, Tuning | None]] = {}
    for group in groups:
        found.setdefault(group.suite, {})[group.algorithm] = group.records[0].trial.tuning
    return {suite: known for suite, known in found.items() if any(known.values())}


def lines(groups: Iterable[Configuration]) -> list[dict[str, str]]:
    """A row for each suite: `NAME: 30 trials of 300 updates on validation tasks; OTHER: not tuned`."""
    groups = list(groups)
    metrics = {(group.suite, group.algorithm): group.metric for group in groups}
    return [
        {
            "suite": suite,
            "tuning": "; ".join(f"{name}: {said(each, metrics[suite, name])}" for name, each in known.items()),
        }
        for suite, known in tunings(groups).items()
    ]


def said(tuning: Tuning | None, metric: str) -> str:
    """How much one algorithm was tuned."""
    if tuning is None:
        return "not tuned"
    best = f"best {metric} there {formatting.score(tuning.score, metric)}" if metric else "best score there not known"
    changed = f"; changed since: {', '.join(tuning.changed)}" if tuning.changed else ""
    much = f"{formatting.count(tuning.trials, 'trial')} of {formatting.count(tuning.updates, 'update')}"
    return f"{much} on validation tasks ({best}; recipe {tuning.recipe}{changed})"


def cautions(groups: Iterable[Configuration]) -> list[str]:
    """A sentence for each suite on which algorithms were not tuned alike, or not for what was run."""
    found = []
    for suite, known in tunings(groups).items():
        tuned = {name: each for name, each in known.items() if each}
        untuned = [name for name in known if name not in tuned]
        if untuned:
            found.append(
                f"Caution: on {suite} {listed(list(tuned))} tuned and {listed(untuned)} not. "
                "The comparison favours what was tuned."
            )
        if len({(each.trials, each.updates) for each in tuned.values()}) > 1:
            much = ", ".join(f"{name} {each.trials} x {each.updates:,} updates" for name, each in tuned.items())
            found.append(f"Caution: on {suite} algorithms were tuned with different budgets: {much}.")
        for name, each in tuned.items():
            if each.changed:
                found.append(
                    f"Caution: on {suite} {name} did not run as it was tuned; changed: {', '.join(each.changed)}."
                )
    return found


def listed(names: list[str]) -> str:
    """`NAME was`, `NAME and OTHER were`."""
    if len(names) == 1:
        return f"{names[0]} was"
    return f"{', '.join(names[:-1])} and {names[-1]} were"
