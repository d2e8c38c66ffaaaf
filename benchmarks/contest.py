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
    alone: float | None = None
    """The median of an update while no other contender is there; of the peer only."""

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
    rounds: int = 9
    least: tuple[int, int] = (9, 3)
    """Timed updates at least: of the main contenders, of the others."""
    limit: float = 120.0
    """Seconds that any one command may take, but for the first update."""
    compiling: float = 240.0
    """Seconds that the first update may take."""
    most: int = 10
    """Updates in one turn at most."""


Pair = tuple[Result, Remote]


def contest(
    workload: Workload, entries: Sequence[contenders.Entry], plan: Plan, seconds: float, say: Callable[[str], None]
) -> list[Result]:
    """The results of a workload in about `seconds`, or what the least number of updates takes."""
    until = time.monotonic() + seconds
    path = workloads_folder() / f"{workload.id}.npz"
    arrays = workloads.save(workload, path)
    taking_part = [entry for entry in entries if entry.takes_part(workload)]
    pairs = [(Result(workload, entry.name), Remote(entry, path, plan.threads)) for entry in taking_part]
    try:
        say(f"{workload.id}: float64 reference")
        reference = check.reference(workload, arrays, plan.threads)  # while the workers import their libraries
        for result, remote in pairs:
            with absent_is_a_note(result):
                remote.ask("ready", plan.limit)
        for result, remote in pairs:
            if result.note:
                continue
            with absent_is_a_note(result):
                prepare(result, remote, reference, arrays, plan)
            say(f"{workload.id}: {result.contender}: {summary(result)}")
        measure(pairs, {entry.name for entry in taking_part if entry.main}, plan, until, say)
        alone(pairs, plan, say)
    finally:
        for _, remote in pairs:
            remote.close()
    if workload.image_size:
        for (result, _), entry in zip(pairs, taking_part, strict=True):
            if result.updates and (entry.main or entry.patient):
                with absent_is_a_note(result):
                    result.tensors = tensors_on_one_thread(entry, path, plan)
    return [result for result, _ in pairs]


def tensors_on_one_thread(entry: contenders.Entry, path: Path, plan: Plan) -> float | None:
    """MB of tensors at an update's peak, in a process with one thread: each thread has a task's graph alive."""
    remote = Remote(entry, path, 1)
    try:
        remote.ask("load", plan.compiling)
        peak: float | None = remote.ask("tensors", plan.limit)["peak"]
    finally:
        remote.close()
    return peak


def alone(pairs: list[Pair], plan: Plan, say: Callable[[str], None]) -> None:
    """Time the peer once more after the others have ended: what it does at its own best setting."""
    from benchmarks.table import PEERS

    timed = [pair for name in PEERS for pair in pairs if pair[0].contender == name and pair[0].updates]
    for pair in pairs:
        if pair not in timed[:1]:
            pair[1].close()
    for result, remote in timed[:1]:
        with absent_is_a_note(result):
            again = remote.ask("time", plan.limit, n=3 if result.updates[0] > 1 else plan.most)["seconds"]
            result.alone = statistics.median(again)
            say(f"{result.workload.id}: {result.contender} alone: {1e3 * result.alone:.2f} ms")


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


def measure(pairs: list[Pair], main: set[str], plan: Plan, until: float, say: Callable[[str], None]) -> None:
    """Time the contenders in turn: one update each, then rounds that share the time left, then the rest."""
    alive = [(result, remote) for result, remote in pairs if result.check == "passed"]
    for result, remote in alive:
        with absent_is_a_note(result):
            result.updates += remote.ask("time", plan.limit, n=1)["seconds"]
    share = max(0.0, (until - time.monotonic()) / max(1, len(alive)))
    totals = {}
    for result, _ in alive:
        if result.updates:
            least = plan.least[result.contender not in main] - 1
            totals[result.contender] = min(max(least, int(share / result.updates[0])), plan.most * plan.rounds)
    for number in range(plan.rounds):
        for result, remote in alive:
            total = totals.get(result.contender, 0)
            due = total * (number + 1) // plan.rounds - total * number // plan.rounds
            if due and not result.note:
                with absent_is_a_note(result):
                    result.updates += remote.ask("time", plan.limit, n=due)["seconds"]
    for result, remote in alive:
        with absent_is_a_note(result):
            sizes = remote.ask("memory", plan.limit)
            result.memory = sizes["peak"] - sizes["resident"]
            result.adapt = statistics.median(remote.ask("adapt", plan.limit, n=9)["seconds"])
        say(f"{result.workload.id}: {result.contender}: {summary(result)}")


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
