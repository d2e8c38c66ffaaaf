"""Trials in worker processes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from multiprocessing.connection import wait
from typing import Any

from metabench.experiments.executors.queue import Queue, ended
from metabench.experiments.executors.registry import ExecutorSetup, RunTrial
from metabench.experiments.executors.worker_process import (
    CheckpointSaved,
    TrialRequest,
    TrialStarted,
    TrialStopped,
    WorkerProcess,
    message_of,
)
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Trial

POLL_S = 0.2
"""Seconds between checks of limits, of `stopping`, and of trials that other drivers have."""
CHECKPOINT_TIMEOUT_S = 60.0
"""Seconds that a trial has to reach its next update and checkpoint, once asked to stop."""
EXIT_TIMEOUT_S = 5.0
"""Seconds that a worker without a trial has to exit."""


def local_executor(setup: ExecutorSetup) -> Local:
    """Trials on this machine, with checkpoints in the results folder."""
    return Local(
        lambda trial: TrialRequest(trial, setup.execution, setup.folder / trial.id), setup.function, setup.jobs
    )


class Local:
    """`jobs` worker processes. A worker that dies takes its own trial with it, and no other."""

    def __init__(self, request_of: Callable[[Trial], TrialRequest], function: RunTrial, jobs: int) -> None:
        self.request_of = request_of
        self.function = function
        self.jobs = jobs
        self.workers: list[WorkerProcess] = []

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """The outcomes as they arrive. When `stopping` turns true running trials are checkpointed and left."""
        try:
            deadline = None
            while True:
                if stopping() and deadline is None:
                    deadline = time.monotonic() + CHECKPOINT_TIMEOUT_S
                    for worker in self.workers:
                        worker.stop()
                if deadline is None:
                    self.fill(queue)
                busy = [worker for worker in self.workers if worker.trial]
                if not busy and (deadline is not None or not queue):
                    return
                for worker in self.ready(busy):
                    yield from self.receive(worker, queue, on_progress)
                for worker in busy:
                    yield from self.enforce(worker, queue, deadline)
        finally:
            for worker in self.workers:
                worker.stop()  # an idle worker ends by itself, and clears up
            for worker in self.workers:
                worker.kill(timeout=0.0 if worker.trial else EXIT_TIMEOUT_S)

    def fill(self, queue: Queue) -> None:
        """Give every idle worker a trial; start workers as they are needed, `jobs` at most."""
        while len([worker for worker in self.workers if worker.trial]) < self.jobs:
            trial = queue.take()
            if trial is None:
                return
            idle = next((worker for worker in self.workers if not worker.trial), None)
            if idle is None:
                taken = {worker.place for worker in self.workers}
                idle = WorkerProcess(self.function, next(place for place in count() if place not in taken))
                self.workers.append(idle)
            idle.start(self.request_of(trial))

    def ready(self, busy: list[WorkerProcess]) -> list[WorkerProcess]:
        """The workers with a message to read, after POLL_S at most."""
        if not busy:
            time.sleep(POLL_S)
            return []
        readable = wait([worker.connection for worker in busy], timeout=POLL_S)
        return [worker for worker in busy if worker.connection in readable]

    def receive(self, worker: WorkerProcess, queue: Queue, on_progress: Callable[[Any], None]) -> Iterator[Outcome]:
        """Process one message of a worker."""
        message, trial = message_of(worker.connection), worker.trial
        assert trial is not None
        if isinstance(message, TrialStarted):
            worker.started = time.monotonic()
        elif isinstance(message, Progress):
            worker.trains = True
            on_progress(message)
        elif isinstance(message, CheckpointSaved):
            queue.on_checkpoint(trial, message.update)
            if message.content is not None:
                on_progress(message)
        elif isinstance(message, Outcome):
            worker.trial = None
            if message.record.status == "error":  # use a fresh process: the plugin may have corrupted this one
                self.retire(worker)
            yield message
        elif isinstance(message, TrialStopped):
            self.retire(worker, EXIT_TIMEOUT_S)
        else:
            outcome = queue.on_worker_death(trial, self.retire(worker, timeout=1.0))
            if outcome:
                yield outcome

    def enforce(self, worker: WorkerProcess, queue: Queue, deadline: float | None) -> Iterator[Outcome]:
        """Kill a trial that exceeds a limit, or that, once asked to stop, cannot checkpoint yet or is too slow."""
        if worker.trial is None:
            return
        if deadline is not None and (not worker.trains or time.monotonic() > deadline):
            self.retire(worker)
            return
        reason = worker.exceeded_limit(queue.limits.seconds, queue.limits.memory)
        if reason and not worker.connection.poll():  # what it has said already is read first: it may be over
            trial = worker.trial
            self.retire(worker)
            yield ended(trial, "timeout" if "--trial-timeout" in reason else "error", reason)

    def retire(self, worker: WorkerProcess, timeout: float = 0.0) -> str:
        """End a worker process; return how it ended."""
        worker.trial = None
        with suppress(ValueError):
            self.workers.remove(worker)
        return worker.kill(timeout)
