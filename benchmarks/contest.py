"""All contenders on one workload: checked first, then timed in turn, round after round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import check, contenders, workloads
from benchmarks.process import Absent, Remote
from benchmarks.workloads import Workload


@dataclass
class Result:
    """One row: a contender on a workload. Seconds throughout; None where there is no figure."""

    workload: Workload
    contender: str
    note: str = ""
    check: str = ""
    """`passed`, `FAILED` or nothing where it did not come to that."""
    error: float | None = None
    threads: int | None = None
    first: float | None = None
    updates: list[float] = field(default_factory=list)
    memory: float | None = None
    tensors: float | None = None
    adapt: float | None = None

    @property
    def median(self) -> float | None:
        """Of the timed updates."""
        return statistics.median(self.updates) if self.updates else None

    def quartile(self, share: float) -> float | None:
        """A quantile of the timed updates."""
        return float(np.quantile(self.updates, share)) if self.updates else None


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    threads: int
    rounds: int = 5
    limit: float = 90.0
    """Seconds that any one command may take, but for the first update."""
    compiling: float = 240.0
    """Seconds that the first update may take."""
    least: float = 1.0
    """Seconds of timed updates that a contender gets even where time is up."""
    most: int = 10
    """Updates in one turn at most."""


def contest(
    workload: Workload, entries: Sequence[contenders.Entry], plan: Plan, seconds: float, say: Callable[[str], None]
) -> list[Result]:
    """The results of a workload in about `seconds`; at least two timed updates each, whatever they take."""
    until = time.monotonic() + seconds
    path = workloads_folder() / f"{workload.id}.npz"
    arrays = workloads.save(workload, path)
    reference = None
    results = []
    taking_part = [entry for entry in entries if workload.memory_only or not entry.memory_only]
    threads = 1 if workload.memory_only else plan.threads  # each thread of ours has a task's graph alive
    for group in [[entry] for entry in taking_part] if workload.memory_only else [taking_part]:
        pairs = [(Result(workload, entry.name), Remote(entry, path, threads)) for entry in group]
        try:
            if reference is None:  # while the workers import their libraries
                say(f"{workload.id}: float64 reference")
                reference = check.reference(workload, arrays, plan.threads)
            for result, remote in pairs:
                with absent_is_a_note(result):
                    remote.ask("ready", plan.limit)
            for result, remote in pairs:
                if result.note:
                    continue
                with absent_is_a_note(result):
                    prepare(result, remote, reference, arrays, plan)
                say(f"{workload.id}: {result.contender}: {summary(result)}")
            measure(pairs, plan, until, say)
        finally:
            for _, remote in pairs:
                remote.close()
        results += [result for result, _ in pairs]
    return results


def prepare(result: Result, remote: Remote, reference: check.Reference, arrays: workloads.Arrays, plan: Plan) -> None:
    """The first update and the check of the gradient. Raises Absent for one that has no figures or a wrong one."""
    result.first = remote.ask("load", plan.compiling)["seconds"]
    path = workloads_folder() / "gradient.npz"
    remote.ask("gradient", plan.limit, path=str(path))
    with np.load(path) as file:
        passed, result.error = check.verdict(reference, dict(file), arrays)
    result.check = "passed" if passed else "FAILED"
    if not passed:
        remote.close()
        raise Absent("its gradient is off by more than 1%, so it is not timed")
    result.threads = remote.ask("settle", plan.limit)["threads"]


def measure(pairs: list[tuple[Result, Remote]], plan: Plan, until: float, say: Callable[[str], None]) -> None:
    """Time the contenders in turn: one update each, then rounds that share the time left, then the rest."""
    alive = [(result, remote) for result, remote in pairs if result.check == "passed"]
    for result, remote in alive:
        with absent_is_a_note(result):
            result.updates += remote.ask("time", plan.limit, n=1)["seconds"]
    share = max(plan.least, (until - time.monotonic()) / max(1, len(alive)))
    if not alive or alive[0][0].workload.memory_only:
        share = 0.0
    for number in range(plan.rounds):
        for result, remote in alive:
            if not result.updates or result.note:
                continue
            due = repeats(result.updates[0], share, plan, number)
            if due:
                with absent_is_a_note(result):
                    result.updates += remote.ask("time", plan.limit * due, n=due)["seconds"]
    for result, remote in alive:
        with absent_is_a_note(result):
            sizes = remote.ask("memory", plan.limit)
            result.memory = sizes["peak"] - sizes["resident"]
            if result.workload.memory_only:
                result.tensors = remote.ask("tensors", plan.limit)["peak"]
            result.adapt = statistics.median(remote.ask("adapt", plan.limit, n=5)["seconds"])
        say(f"{result.workload.id}: {result.contender}: {summary(result)}")


def repeats(update: float, share: float, plan: Plan, number: int) -> int:
    """How many updates a contender does in round `number`, so that all rounds take its share of the time."""
    total = min(max(1, int(share / update)), plan.most * plan.rounds)
    return total * (number + 1) // plan.rounds - total * number // plan.rounds


class absent_is_a_note(suppress):  # noqa: N801
    """Within the block an Absent becomes the row's note."""

    def __init__(self, result: Result) -> None:
        super().__init__(Absent)
        self.result = result

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Absent):
            self.result.note = str(error)
        return bool(super().__exit__(kind, error, trace))


def summary(result: Result) -> str:
    """One line on how a contender did so far."""
    if result.note:
        return result.note
    if result.median is not None:
        return f"update {1e3 * result.median:.2f} ms, {len(result.updates)} repeats"
    return f"gradient {result.check}, error {result.error:.1e}, first update {result.first:.2f} s"


def workloads_folder() -> Path:
    """Where the arrays pass from the driver to the workers."""
    from benchmarks.install import BENCH

    return BENCH / "workloads"


def flatten(lists: Iterable[list[Result]]) -> Iterator[Result]:
    """One after the other."""
    for each in lists:
        yield from each
