"""Driver side of the Dask executor: one trial on each thread of each worker. See dask_worker for the other side."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metabench.errors import UserError, one_line
from metabench.experiments.executors.queue import Queue
from metabench.experiments.executors.registry import ExecutorSetup
from metabench.records.checkpoints import FolderCheckpointStore
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Trial

try:
    from distributed import Client, Future
    from distributed import Queue as MessageQueue
except ImportError:
    raise UserError("--executor dask needs Dask: pip install 'metabench[dask]'.") from None

from metabench.experiments.executors.dask_cluster import GPU_RESOURCE, WorkerPool, connected, token_in
from metabench.experiments.executors.dask_worker import Job, run_job

POLL_S = 0.1
"""Seconds between reads of the workers' messages."""
CHECKPOINT_TIMEOUT_S = 70.0
"""Seconds that running trials have for their checkpoints, once asked to stop: a little more than Local gives."""


class Dask:
    """Runs trials on a cluster: that of a scheduler, or `jobs` workers on this machine."""

    def __init__(self, setup: ExecutorSetup) -> None:
        self.setup = setup
        self.folder = setup.folder.resolve()

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """The outcomes as they arrive. When `stopping` turns true running trials are checkpointed and left."""
        cuda = self.setup.execution.device.startswith("cuda")
        scheduler = self.setup.scheduler
        try:
            with token_in(self.folder) as token, connected(scheduler, self.setup.jobs, cuda) as client:
                dispatch = Dispatch(self, client, WorkerPool(client, token, cuda), queue)
                yield from dispatch.run(on_progress, stopping)
        except OSError as error:
            raise UserError(
                f"Lost the Dask scheduler {scheduler or 'on this machine'} ({one_line(error)}). What is "
                "finished is kept; the same command goes on."
            ) from None


class InFlight(NamedTuple):
    """A trial that was sent to a worker."""

    trial: Trial
    future: Future[Any]
    worker: str


class Dispatch:
    """Sends trials to workers, and processes what they report.

    The driver chooses the worker of each trial. The scheduler would start the task of a lost worker again as it was
    sent, from a checkpoint that is old by then; bound to that worker it cannot, and the driver sends a new one.
    """

    def __init__(self, dask: Dask, client: Client, pool: WorkerPool, queue: Queue) -> None:
        self.dask = dask
        self.client = client
        self.pool = pool
        self.queue = queue
        self.messages = MessageQueue(f"metabench-{uuid.uuid4().hex}", client)
        self.in_flight: dict[str, InFlight] = {}
        """By the key of the task."""
        self.begun: set[str] = set()
        """Keys of tasks that reported that they began."""
        self.any_begun = False
        self.deadline: float | None = None
        """When to stop waiting for checkpoints, once asked to stop."""

    def run(self, on_progress: Callable[[Any], None], stopping: Callable[[], bool]) -> Iterator[Outcome]:
        """See Dask.run."""
        try:
            while True:
                self.pool.refresh(self.any_begun)
                if self.deadline is None and not stopping():
                    self.fill()
                done = [key for key, flight in self.in_flight.items() if flight.future.done()]
                yield from self.receive(on_progress)
                if self.deadline is None:
                    yield from self.reap(done)
                if self.deadline is None and stopping():
                    self.deadline = time.monotonic() + CHECKPOINT_TIMEOUT_S
                    self.client.cancel([flight.future for flight in self.in_flight.values()])
                if self.deadline is not None and (time.monotonic() > self.deadline or not self.leaving()):
                    return
                if not self.in_flight and not self.queue:
                    return
                time.sleep(POLL_S)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel([flight.future for flight in self.in_flight.values()])
                self.messages.close()

    def fill(self) -> None:
        """Give every free place a trial, the emptiest worker first."""
        taken = Counter(flight.worker for flight in self.in_flight.values())
        free = Counter({address: member.places - taken[address] for address, member in self.pool.members.items()})
        while free and (most := free.most_common(1)[0])[1] > 0:
            trial = self.queue.take()
            if trial is None:
                return
            self.begin(trial, most[0])
            free[most[0]] -= 1

    def begin(self, trial: Trial, worker: str) -> None:
        """Send a trial to a worker."""
        folder = self.dask.folder / trial.id
        shared = self.pool.members[worker].shared
        job = Job(
            trial=trial,
            execution=self.dask.setup.execution,
            limits=self.queue.limits,
            function=self.dask.setup.function,
            folder=folder if shared else None,
            checkpoint=None if shared else saved(folder),
            data=os.environ.get("METABENCH_DATA", ""),
            messages=self.messages.name,
        )
        key = f"metabench-{trial.id}-{uuid.uuid4().hex[:8]}"
        resources = GPU_RESOURCE if self.pool.cuda else None
        future = self.client.submit(
            run_job, job, key=key, pure=False, retries=0, workers=[worker], resources=resources
        )
        self.in_flight[key] = InFlight(trial, future, worker)
        self.any_begun = True

    def receive(self, on_progress: Callable[[Any], None]) -> Iterator[Outcome]:
        """Process queued messages; ignore those of cancelled tasks."""
        for key, kind, body in self.messages.get(batch=True):
            flight = self.in_flight.get(key)
            if flight is None:
                continue
            if kind == "began" and key in self.begun:  # the worker was lost, and is there again under its address
                self.client.cancel([flight.future])
                yield from self.on_worker_death(key, f"was lost with the Dask worker {flight.worker}")
            elif kind == "began":
                self.begun.add(key)
            elif kind == "progress":
                on_progress(msgspec.convert(body, Progress))
            elif kind == "kept":
                self.save_checkpoint(flight.trial, *body)
            elif kind == "outcome":
                self.forget(key)
                yield msgspec.msgpack.decode(body, type=Outcome)
            elif kind == "died":
                yield from self.on_worker_death(key, body)
            elif kind == "left" and self.deadline is not None:
                self.forget(key)
            elif kind == "left":
                yield from self.on_worker_death(key, f"was left by the Dask worker {flight.worker}, which was ending")

    def save_checkpoint(self, trial: Trial, update: int, content: bytes | None) -> None:
        """Note a checkpoint, and write it if the worker could not. Without it a lost trial resumes further back."""
        if content is not None:
            try:
                FolderCheckpointStore(self.dask.folder / trial.id).save(content, update)
            except OSError:
                return
        self.queue.on_checkpoint(trial, update)

    def reap(self, done: list[str]) -> Iterator[Outcome]:
        """Queue again the trials of lost workers, and of tasks that ended without an outcome."""
        for key, flight in list(self.in_flight.items()):
            if key in done:
                yield from self.on_worker_death(
                    key, f"on the Dask worker {flight.worker} {self.describe_end(flight.future)}"
                )
            elif flight.worker not in self.pool.members:
                self.client.cancel([flight.future])
                if key in self.begun:
                    yield from self.on_worker_death(key, f"was lost with the Dask worker {flight.worker}")
                else:
                    self.forget(key)
                    self.queue.reclaimed.append(flight.trial)

    def describe_end(self, future: Future[Any]) -> str:
        """How a task ended, for the record's reason."""
        if future.status == "error":
            return f"failed: {one_line(future.exception(timeout=CHECKPOINT_TIMEOUT_S))}"
        return f"was {future.status}"

    def on_worker_death(self, key: str, how: str) -> Iterator[Outcome]:
        """A trial's process ended without an outcome."""
        trial = self.in_flight[key].trial
        self.forget(key)
        outcome = self.queue.on_worker_death(trial, how)
        if outcome:
            yield outcome

    def forget(self, key: str) -> None:
        """Drop a task that is over."""
        del self.in_flight[key]
        self.begun.discard(key)

    def leaving(self) -> bool:
        """Whether a worker that was asked to stop is still making its checkpoint."""
        return any(key in self.begun and self.in_flight[key].worker in self.pool.members for key in self.in_flight)


def saved(folder: Path) -> bytes | None:
    """The last checkpoint in a trial's folder, if it can be read."""
    try:
        return FolderCheckpointStore(folder).load()
    except OSError:
        return None
