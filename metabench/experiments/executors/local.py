"""Trials in local processes, some at once, each trial in a process that nothing else depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from metabench.experiments.executors.queue import Queue, ended
from metabench.experiments.executors.worker_process import (
    CheckpointSaved,
    RunTrial,
    TrialRequest,
    TrialStopped,
    WorkerProcess,
    message_of,
)
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Trial

TICK = 0.2
"""Seconds between looks at limits, at the wish to stop, and at trials that others have."""
GRACE = 60.0
"""Seconds that a trial has to reach its next update, once it is asked to stop."""
GOODBYE = 5.0
"""Seconds that a worker without a trial has to end."""


class Local:
    """`jobs` worker processes. A worker that dies takes its own trial with it, and no other."""

    def __init__(self, order: Callable[[Trial], TrialRequest], function: RunTrial, jobs: int) -> None:
        self.order = order
        self.function = function
        self.jobs = jobs
        self.slots: list[WorkerProcess] = []

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """The outcomes as they arrive. When `stopping` turns true running trials are checkpointed and left."""
        try:
            until = None
            while True:
                if stopping() and until is None:
                    until = time.monotonic() + GRACE
                    for slot in self.slots:
                        slot.stop()
                if until is None:
                    self.fill(queue)
                busy = [slot for slot in self.slots if slot.trial]
                if not busy and (until is not None or not queue):
                    return
                for slot in self.ready(busy):
                    yield from self.hear(slot, queue, on_progress)
                for slot in busy:
                    yield from self.enforce(slot, queue, until)
        finally:
            for slot in self.slots:
                slot.stop()  # an idle worker ends by itself, and clears up
            for slot in self.slots:
                slot.kill(patience=0.0 if slot.trial else GOODBYE)

    def fill(self, queue: Queue) -> None:
        """Give every idle worker a trial; there are never more workers than trials to run."""
        while len([slot for slot in self.slots if slot.trial]) < self.jobs:
            trial = queue.take()
            if trial is None:
                return
            idle = next((slot for slot in self.slots if not slot.trial), None)
            if idle is None:
                idle = WorkerProcess(self.function)
                self.slots.append(idle)
            idle.begin(self.order(trial))

    def ready(self, busy: list[WorkerProcess]) -> list[WorkerProcess]:
        """The workers that have something to say, after a tick at most."""
        if not busy:
            time.sleep(TICK)
            return []
        heard = wait([slot.connection for slot in busy], timeout=TICK)
        return [slot for slot in busy if slot.connection in heard]

    def hear(self, slot: WorkerProcess, queue: Queue, on_progress: Callable[[Any], None]) -> Iterator[Outcome]:
        """One message of a worker."""
        message, trial = message_of(slot.connection), slot.trial
        assert trial is not None
        if isinstance(message, Progress):
            slot.trains = True
            on_progress(message)
        elif isinstance(message, CheckpointSaved):
            queue.kept(trial, message.update)
            if message.content is not None:
                on_progress(message)
        elif isinstance(message, Outcome):
            slot.trial = None
            if message.record.status == "error":  # whatever the plugin has broken, it broke for itself
                self.retire(slot)
            yield message
        elif isinstance(message, TrialStopped):
            self.retire(slot, GOODBYE)
        else:
            outcome = queue.died(trial, self.retire(slot, patience=1.0))
            if outcome:
                yield outcome

    def enforce(self, slot: WorkerProcess, queue: Queue, until: float | None) -> Iterator[Outcome]:
        """End a trial that is over its limits, or that does not stop when it should or has nothing to keep yet."""
        if slot.trial is None:
            return
        if until is not None and (not slot.trains or time.monotonic() > until):
            self.retire(slot)
            return
        reason = slot.over(queue.limits.seconds, queue.limits.memory)
        if reason:
            trial = slot.trial
            self.retire(slot)
            yield ended(trial, "timeout" if "--trial-timeout" in reason else "error", reason)

    def retire(self, slot: WorkerProcess, patience: float = 0.0) -> str:
        """End a worker process; how it ended, in words."""
        slot.trial = None
        with suppress(ValueError):
            self.slots.remove(slot)
        return slot.kill(patience)
