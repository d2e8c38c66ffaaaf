"""The records of one configuration under one protocol: a row of a table, a line of a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from metabench.records import store
from metabench.records.record import Examples, Record, Scores
from metabench.report.collect.labels import Label, labels
from metabench.report.statistics.intervals import Array, Interval, interval, stack


@dataclass(frozen=True)
class Configuration:
    """Trials that differ by their seed alone."""

    suite: str
    algorithm: str
    protocol: str
    records: tuple[Record, ...]
    """All of them, by seed, the failed ones too."""
    steps: dict[int, Array]
    """Seed -> scores [inner steps + 1, test tasks] in the first metric, of the trials that can be counted."""
    examples: Examples | None = None
    """The first test tasks, as the counted trial of the lowest seed predicted them."""

    @property
    def scored_records(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.trial.seed in self.steps)

    @property
    def final(self) -> dict[int, Array]:
        """Seed -> scores [test tasks] after the last inner step."""
        return {seed: scores[-1] for seed, scores in self.steps.items()}

    @property
    def metric(self) -> str:
        return next((record.metric for record in self.scored_records), "")

    @property
    def higher_is_better(self) -> bool:
        return next((record.higher_is_better for record in self.scored_records), True)

    @property
    def trained(self) -> bool:
        """Not so for an algorithm that adapts from the initial weights."""
        return any(record.selection != "initial" for record in self.scored_records)

    @property
    def competing_protocols(self) -> tuple[str, ...]:
        """The protocols under which it is compared, its own first: all, where one test stands for both."""
        asked = protocols(self.records[0])
        alone = all(len(record.tests) == 1 for record in self.scored_records)
        if self.protocol not in asked:
            return asked
        return (self.protocol, *(each for each in asked if alone and each != self.protocol))

    def score(self) -> Interval | None:
        """The mean test score; None where no trial can be counted."""
        return interval(stack(self.final)) if self.steps else None

    def adaptation(self) -> list[Interval]:
        """The mean test score after 0, 1 ... inner steps."""
        count = min((len(scores) for scores in self.steps.values()), default=0)
        return [interval(stack({seed: s[step] for seed, s in self.steps.items()})) for step in range(count)]


def collect(records: Iterable[Record], results: Path | Mapping[str, Path]) -> tuple[Configuration, ...]:
    """Every record in its group (in two, if it was tested under both protocols), by label.

    `results` is the folder of their scores, or that of each trial by its id.
    """
    known = sorted(records, key=lambda record: (record.trial.seed, record.trial.id))
    names = labels(known)
    members: dict[tuple[Label, str], list[Record]] = {}
    steps: dict[tuple[Label, str], dict[int, Array]] = {}
    tested = {names[record.trial.id]: tuple(record.tests) for record in known if record.tests}
    shown: dict[Label, Examples | None] = {}
    for record in known:
        label = names[record.trial.id]
        root = results if isinstance(results, Path) else results[record.trial.id]
        scores = read_scores(root, record) if record.status == "ok" else {}
        if scores and label not in shown:
            shown[label] = store.examples(root, record)
        for protocol in tested.get(label) or protocols(record):
            key = (label, protocol)
            members.setdefault(key, []).append(record)
            if values := scores.get(protocol, {}).get(record.metric):
                steps.setdefault(key, {})[record.trial.seed] = np.asarray(values, dtype=float)
    return tuple(
        Configuration(
            label.suite,
            label.algorithm,
            protocol,
            tuple(members[label, protocol]),
            steps.get((label, protocol), {}),
            under(protocol, shown.get(label)),
        )
        for label, protocol in sorted(members, key=lambda key: (key[0], key[1] != "transductive"))
    )


def under(protocol: str, examples: Examples | None) -> Examples | None:
    """The examples, if that is how they were predicted."""
    return examples if examples and examples.protocol == protocol else None


def protocols(record: Record) -> tuple[str, ...]:
    """Those under which a trial was to be tested; a model that sees no other query points is tested once."""
    if record.trial.protocol == "both":
        return ("transductive", "inductive")
    return (record.trial.protocol,)


def read_scores(results: Path, record: Record) -> Scores:
    """The per-task scores; none where the file is missing or holds no numbers (a NaN is stored as null)."""
    try:
        return store.scores(results, record)
    except (msgspec.DecodeError, OSError):
        return {}


def shortfalls(groups: Iterable[Configuration]) -> list[tuple[Configuration, Record, str]]:
    """The trials that no score counts, each once, with the reason."""
    found: dict[str, tuple[Configuration, Record, str]] = {}
    for group in groups:
        for record in group.records:
            if record.trial.seed not in group.steps:
                ok = record.status == "ok"
                reason = "its per-task scores are missing or not finite" if ok else record.reason
                found.setdefault(record.trial.id, (group, record, reason or "no reason was recorded"))
    return list(found.values())
