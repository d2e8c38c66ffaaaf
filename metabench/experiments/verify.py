"""`metabench verify`: does a trial that is run again give the bits that are on record?"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from metabench.errors import UserError
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.worker_process import TrialRequest
from metabench.experiments.options import Options
from metabench.experiments.setup import open_registry, plugin_files, use_data
from metabench.experiments.work import work
from metabench.records import store
from metabench.records.locks import TrialLocks
from metabench.records.record import Outcome, Record, Scores
from metabench.records.trials import STRATEGIES, Execution, Trial

FACTS = ("cpu", "torch", "metabench", "device", "plugins")
"""What of the provenance explains a difference."""


class Verdict(NamedTuple):
    """What came of one trial."""

    trial: str
    result: str
    """`same` or `differs`."""
    seen: str


def verify(root: Path, sample: int, jobs: int, plugins: tuple[str, ...], data: str | None) -> Iterator[Verdict]:
    """Run some of the finished trials again, the way they were run, into a folder that goes away.

    Raises UserError.
    """
    options = Options(data=data, plugins=plugins)
    use_data(options)
    open_registry(options)
    good = {record.trial.id: record for record in store.records(root) if record.status == "ok"}
    if not good:
        raise UserError(f"There is no finished trial in '{root}' to run again.")
    chosen = sorted(random.Random(0).sample(sorted(good), min(sample, len(good))))
    files = plugin_files(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def order(trial: Trial) -> TrialRequest:
            return TrialRequest(trial, execution_of(good[trial.id], files), folder / trial.id)

        queue = Queue([good[name].trial for name in chosen], TrialLocks(folder), Limits())
        for outcome in Local(order, work, jobs).run(queue, lambda sign: None, lambda: False):
            record = good[outcome.record.trial.id]
            yield compare(record, store.scores(root, record), outcome)


def execution_of(record: Record, plugins: tuple[str, ...]) -> Execution:
    """How a trial was computed, as its record has it."""
    facts = record.provenance
    own = record.strategy in STRATEGIES
    return Execution(
        device="cpu" if facts.device in (None, "cpu") else "cuda",
        threads=facts.threads or 1,
        strategy=msgspec.convert(record.strategy, str) if own else "auto",
        deterministic=bool(facts.deterministic),
        plugins=plugins,
    )


def compare(record: Record, scores: Scores, again: Outcome) -> Verdict:
    """Whether two runs of a trial found the same, to the last bit."""
    name, other = record.trial.id, again.record
    if other.status != record.status:
        return Verdict(name, "differs", f"{other.status} now: {other.reason}")
    points = [(one.update, one.score, one.train_loss) for one in record.curve]
    same = scores == again.scores and points == [(one.update, one.score, one.train_loss) for one in other.curve]
    if same and record.tests == other.tests and record.selected_update == other.selected_update:
        return Verdict(name, "same", "every score and every point of the curve, bit for bit")
    changed = [fact for fact in FACTS if getattr(record.provenance, fact) != getattr(other.provenance, fact)]
    why = f"; other {', '.join(changed)} than then" if changed else ""
    return Verdict(name, "differs", f"scores by up to {gap(scores, again.scores):.2g}{why}")


def gap(one: Scores, other: Scores) -> float:
    """The largest difference of two scores of the same task, infinite where they are not of the same tasks."""
    found = 0.0
    if one.keys() != other.keys():
        return float("inf")
    for protocol in one:
        for metric, steps in one[protocol].items():
            rest = other[protocol].get(metric, [])
            if [len(values) for values in steps] != [len(values) for values in rest]:
                return float("inf")
            pairs = (pair for values, more in zip(steps, rest) for pair in zip(values, more))
            found = max(found, *(abs(a - b) for a, b in pairs))
    return found
