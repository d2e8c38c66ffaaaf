"""What was compared: suites, configurations and all their settings as tables, and the trials that failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from metabench.records.trials import Part, Trial
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, shortfalls
from metabench.report.collect.labels import pairs, text
from metabench.report.page.matrices import Rows

PARTS: tuple[Part, ...] = ("suite", "algorithm", "trial")


def by_suite(groups: Sequence[Configuration]) -> dict[str, dict[str, Trial]]:
    """By suite and algorithm the first trial: the others differ by their seed alone."""
    members = grouped((group.suite, group) for group in groups)
    return {suite: {group.algorithm: group.records[0].trial for group in of} for suite, of in members.items()}


def alike(trials: Iterable[Trial]) -> dict[str, Any]:
    """What all have of budget, protocol, precision, tuning."""
    first, *others = (trial.settings("trial") for trial in trials)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def suites(groups: Sequence[Configuration]) -> Rows:
    """Each suite's parameters, and the settings that all its trials have in common."""
    return [
        {"suite": suite, "parameters": pairs(next(iter(trials.values())).settings("suite")),
         "settings of all": pairs(alike(trials.values()))}
        for suite, trials in by_suite(groups).items()
    ]  # fmt: skip


def configurations(groups: Sequence[Configuration]) -> Rows:
    """Each one's parameters, and those settings in which a suite's trials differ."""
    rows: Rows = []
    for suite, trials in by_suite(groups).items():
        common = alike(trials.values())
        for algorithm, trial in trials.items():
            own = {name: value for name, value in trial.settings("trial").items() if name not in common}
            parameters = pairs(trial.settings("algorithm"))
            rows.append({"suite": suite, "algorithm": algorithm, "parameters": parameters, "settings": pairs(own)})
    return rows


def settings(groups: Sequence[Configuration]) -> pd.DataFrame:
    """tables/settings.csv: every setting of every configuration, one a row."""
    rows = [
        (suite, algorithm, part, name, text(value))
        for suite, trials in by_suite(groups).items()
        for algorithm, trial in trials.items()
        for part in PARTS
        for name, value in trial.settings(part).items()
    ]
    return pd.DataFrame(rows, columns=["suite", "algorithm", "of", "setting", "value"])


def failed(groups: Sequence[Configuration]) -> Rows:
    """The trials without a score, and why."""
    return [
        {"suite": group.suite, "algorithm": group.algorithm, "seed": record.trial.seed,
         "status": "no scores" if record.status == "ok" else record.status, "reason": reason}
        for group, record, reason in shortfalls(groups)
    ]  # fmt: skip
