"""Who was tuned and how much, who ran on default settings; and a caution where what is compared differs in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from metabench.records.trials import Tuning
from metabench.report import formatting
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration


def tunings(groups: Iterable[Configuration]) -> dict[str, dict[str, Tuning | None]]:
    """By suite, in which anything was tuned, and by algorithm."""
    by_suite = grouped((group.suite, (group.algorithm, group.records[0].trial.tuning)) for group in groups)
    return {suite: dict(known) for suite, known in by_suite.items() if any(tuning for _, tuning in known)}


def lines(groups: Sequence[Configuration]) -> list[dict[str, str]]:
    """A row for each suite: `NAME: 30 trials of 300 updates on validation tasks; OTHER: not tuned`."""
    metrics = {(group.suite, group.algorithm): group.metric for group in groups}
    return [
        {
            "suite": suite,
            "tuning": "; ".join(f"{name}: {extent(tuning, metrics[suite, name])}" for name, tuning in known.items()),
        }
        for suite, known in tunings(groups).items()
    ]


def extent(tuning: Tuning | None, metric: str) -> str:
    """How much one algorithm was tuned."""
    if tuning is None:
        return "not tuned"
    best = f"best {metric} there {formatting.score(tuning.score, metric)}" if metric else "best score there not known"
    changed = f"; changed since: {', '.join(tuning.changed)}" if tuning.changed else ""
    much = f"{formatting.count(tuning.trials, 'trial')} of {formatting.count(tuning.updates, 'update')}"
    return f"{much} on validation tasks ({best}; recipe {tuning.recipe}{changed})"


def cautions(groups: Sequence[Configuration]) -> Iterator[str]:
    """A sentence for each way in which the algorithms of a suite were not tuned alike, or not for what was run."""
    for suite, known in tunings(groups).items():
        tuned = {name: tuning for name, tuning in known.items() if tuning}
        if untuned := [name for name in known if name not in tuned]:
            yield (
                f"Caution: on {suite} {formatting.listed(list(tuned))} {were(tuned)} tuned and "
                f"{formatting.listed(untuned)} {were(untuned)} not. The comparison favours what was tuned."
            )
        if len({(tuning.trials, tuning.updates) for tuning in tuned.values()}) > 1:
            much = ", ".join(f"{name} {each.trials} x {each.updates:,} updates" for name, each in tuned.items())
            yield f"Caution: on {suite} algorithms were tuned with different budgets: {much}."
        for name, tuning in tuned.items():
            if tuning.changed:
                changed = ", ".join(tuning.changed)
                yield f"Caution: on {suite} {name} did not run as it was tuned; changed: {changed}."
    on_defaults = grouped(
        (group.suite, group.algorithm)
        for group in groups
        if any(record.trial.default_settings for record in group.records)
    )
    for suite, names in on_defaults.items():
        listed = ", ".join(dict.fromkeys(names))
        yield f"Caution: default settings on {suite}, as its recipe says nothing of them: {listed}."


def were(names: Iterable[str]) -> str:
    return "was" if len(list(names)) == 1 else "were"
