"""Run finished trials again and compare them with their records, bit for bit: `metabench verify`."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from metabench.errors import UserError
from metabench.experiments.execution import make_execution, run_trial
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.worker_process import TrialRequest
from metabench.experiments.options import Options
from metabench.experiments.setup import open_registry, use_data
from metabench.records import store
from metabench.records.locks import TrialLocks
from metabench.records.plugin_files import PluginFile
from metabench.records.record import Outcome, Record, Scores
from metabench.records.trials import STRATEGIES, Execution, Trial

FACTS = ("cpu", "torch", "metabench", "device", "plugins", "digests")
"""Fields of the provenance that may explain a difference."""


class Verdict(NamedTuple):
    """The comparison of one trial: a row of the table that is shown."""

    trial: str
    result: str
    """`same`, `close` or `differs`."""
    seen: str


def verify(root: Path, sample: int, jobs: int, options: Options) -> Iterator[Verdict]:
    """Run a sample of the finished trials again as they were run, in a temporary folder. Raises UserError."""
    use_data(options)
    files = open_registry(options).files
    good = {record.trial.id: record for record in store.records(root) if record.status == "ok"}
    if not good:
        raise UserError(f"There is no finished trial in '{root}' to run again.")
    chosen = sorted(random.Random(0).sample(sorted(good), min(sample, len(good))))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def request_of(trial: Trial) -> TrialRequest:
            return TrialRequest(trial, recorded_execution(good[trial.id], options, files), folder / trial.id)

        queue = Queue([good[name].trial for name in chosen], TrialLocks(folder), Limits())
        for outcome in Local(request_of, run_trial, jobs).run(queue, lambda sign: None, lambda: False):
            record = good[outcome.record.trial.id]
            yield compare(record, store.scores(root, record), outcome)


def recorded_execution(record: Record, options: Options, files: tuple[PluginFile, ...]) -> Execution:
    """How a trial was computed, as its record has it."""
    facts = record.provenance
    recorded = msgspec.structs.replace(
        options,
        strategy=record.strategy if record.strategy in STRATEGIES else "auto",
        rematerialise=bool(facts.rematerialise),
        plain_layers=bool(facts.plain_layers),
        deterministic=bool(facts.deterministic),
        keep_state=False,
        keep_training_state=False,
    )
    device = "cpu" if facts.device in (None, "cpu") else "cuda"
    return make_execution(recorded, device, facts.threads or 1, files)


def compare(record: Record, scores: Scores, again: Outcome) -> Verdict:
    """Compare two runs of a trial: to the last bit, or within intervals where the bits were computed otherwise."""
    name, other = record.trial.id, again.record
    if other.status != record.status:
        return Verdict(name, "differs", f"{other.status} now: {other.reason}")
    points = curve_of(record)
    same = scores == again.scores and points == curve_of(other)
    if same and record.tests == other.tests and record.selected_update == other.selected_update:
        return Verdict(name, "same", "every score and every point of the curve, bit for bit")
    changed = [fact for fact in FACTS if getattr(record.provenance, fact) != getattr(other.provenance, fact)]
    why = f"; other {', '.join(changed)} than then" if changed else ""
    seen = f"scores by up to {largest_difference(scores, again.scores):.2g}{why}"
    if record.provenance.bits != other.provenance.bits and within_intervals(record, other):
        return Verdict(name, "close", f"every mean within its interval; {seen}; then: {record.provenance.bits}")
    return Verdict(name, "differs", seen)


def within_intervals(one: Record, other: Record) -> bool:
    """Whether every mean test score of a record lies within the interval of the other's."""
    if one.tests.keys() != other.tests.keys():
        return False
    pairs = ((test, other.tests[protocol]) for protocol, test in one.tests.items())
    return all(abs(test.score - again.score) <= max(test.ci95, again.ci95) for test, again in pairs)


def curve_of(record: Record) -> list[tuple[int, float, float | None]]:
    """The points of the learning curve, without their times."""
    return [(point.update, point.score, point.train_loss) for point in record.curve]


def largest_difference(one: Scores, other: Scores) -> float:
    """The largest difference between two scores of one task; infinite where protocols, steps or tasks differ."""
    largest = 0.0
    if one.keys() != other.keys():
        return float("inf")
    for protocol in one:
        for metric, steps in one[protocol].items():
            rest = other[protocol].get(metric, [])
            if [len(values) for values in steps] != [len(values) for values in rest]:
                return float("inf")
            pairs = (pair for values, more in zip(steps, rest) for pair in zip(values, more))
            largest = max(largest, *(abs(a - b) for a, b in pairs))
    return largest
