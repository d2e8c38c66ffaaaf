"""The records of one configuration under one protocol: a row of a table, a line of a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metabench.records import store
from metabench.records.record import Examples, Record, ValidationPoint
from metabench.report.collect import grouped
from metabench.report.collect.labels import Label, labels
from metabench.report.statistics.intervals import Array, Interval, interval, stack

UNKNOWN = Interval(math.nan, math.nan, math.nan, 0, 0)


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
    swept: tuple[str, ...] = ()
    """Parameters of which several values were tried; this one was chosen of `points`: report.collect.sweeps."""
    points: tuple[Configuration, ...] = ()
    """All that were tried, itself among them."""

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
        return (self.protocol, *(other for other in asked if alone and other != self.protocol))

    def score(self) -> Interval:
        """The mean test score; of NaN where no trial can be counted."""
        return interval(stack(self.final)) if self.steps else UNKNOWN

    def named(self) -> dict[str, str]:
        """The columns with which a row of every table begins."""
        return {name: getattr(self, name) for name in ("suite", "algorithm", "protocol", "metric")}

    def adaptation(self) -> list[Interval]:
        """The mean test score after 0, 1 ... inner steps."""
        count = min((len(scores) for scores in self.steps.values()), default=0)
        return [interval(stack({seed: s[step] for seed, s in self.steps.items()})) for step in range(count)]


def collect(records: Iterable[Record], results: Path | Mapping[str, Path]) -> tuple[Configuration, ...]:
    """Every record in its configuration (in two, if it was tested under both protocols), by label.

    `results` is the folder of their scores, or that of each trial by its id.
    """
    records = sorted(records, key=lambda record: (record.trial.seed, record.trial.id))
    roots = dict.fromkeys((r.trial.id for r in records), results) if isinstance(results, Path) else results
    names = labels(records)
    members = grouped((names[record.trial.id], record) for record in records)
    return tuple(each for label in sorted(members) for each in of_label(label, members[label], roots))


def of_label(label: Label, records: Sequence[Record], roots: Mapping[str, Path]) -> Iterator[Configuration]:
    """The configurations of one label, one for each protocol."""
    scores = {r.trial.seed: store.scores(roots[r.trial.id], r) if r.status == "ok" else {} for r in records}
    first = next((record for record in records if scores[record.trial.seed]), None)
    examples = store.examples(roots[first.trial.id], first) if first else None
    tested = next((tuple(record.tests) for record in reversed(records) if record.tests), protocols(records[0]))
    for protocol in sorted(tested, key=lambda protocol: protocol != "transductive"):
        values = {r.trial.seed: scores[r.trial.seed].get(protocol, {}).get(r.metric) for r in records}
        yield Configuration(
            label.suite,
            label.algorithm,
            protocol,
            tuple(records),
            {seed: np.asarray(steps, dtype=float) for seed, steps in values.items() if steps},
            examples if examples and examples.protocol == protocol else None,
        )


def selected_point(record: Record) -> ValidationPoint | None:
    """The validation of the state that was tested; None where there was none."""
    return next((point for point in record.curve if point.update == record.selected_update), None)


def first_of_each(groups: Iterable[Configuration]) -> list[Configuration]:
    """One for each algorithm: the first of those that differ by their protocol alone."""
    return [members[0] for members in grouped((group.algorithm, group) for group in groups).values()]


def protocols(record: Record) -> tuple[str, ...]:
    """Those under which a trial was to be tested; a model that sees no other query points is tested once."""
    if record.trial.protocol == "both":
        return ("transductive", "inductive")
    return (record.trial.protocol,)


def shortfalls(groups: Iterable[Configuration]) -> list[tuple[Configuration, Record, str]]:
    """The trials that no score counts, each once, with the reason."""
    missing: dict[str, tuple[Configuration, Record, str]] = {}
    for group in groups:
        for record in group.records:
            if record.trial.seed not in group.steps:
                ok = record.status == "ok"
                reason = "its per-task scores are missing or not finite" if ok else record.reason
                missing.setdefault(record.trial.id, (group, record, reason or "no reason was recorded"))
    return list(missing.values())
