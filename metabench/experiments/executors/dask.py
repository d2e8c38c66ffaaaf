"""Trials on the workers of a Dask cluster, one on each thread. The driver's end; `remote` is the other."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metabench.errors import UserError, one_line
from metabench.experiments.executors.queue import Queue
from metabench.experiments.executors.worker_process import RunTrial
from metabench.records.checkpoints import FolderCheckpointStore
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial

try:
    from distributed import Client, Future
    from distributed import Queue as Mail
except ImportError:
    raise UserError("--executor dask needs Dask: pip install 'metabench[dask]'.") from None

from metabench.experiments.executors.dask_cluster import GPU, WorkerPool, connected
from metabench.experiments.executors.dask_worker import Job, run_job

TICK = 0.1
"""Seconds between looks at what the workers say."""
OLD = 24 * 3600.0
"""Seconds after which a token may go."""
GRACE = 70.0
"""Seconds that running trials have for their checkpoints, once asked to stop: a little more than a worker gives."""


class Dask:
    """Runs trials on a cluster: that of a scheduler, or `jobs` workers on this machine."""

    def __init__(
        self, out: Path, execution: Execution, function: RunTrial, jobs: int, scheduler: str | None = None
    ) -> None:
        self.out = out
        self.execution = execution
        self.function = function
        self.jobs = jobs
        self.scheduler = scheduler

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """The outcomes as they arrive. When `stopping` turns true running trials are checkpointed and left."""
        plugins = plugin_files(self.execution)
        cuda = self.execution.device.startswith("cuda")
        try:
            with token_in(self.out) as token, connected(self.scheduler, self.jobs, cuda) as client:
                dispatch = Dispatch(self, client, WorkerPool(client, token, cuda), queue, plugins)
                yield from dispatch.run(on_progress, stopping)
        except OSError as error:
            raise UserError(
                f"Lost the Dask scheduler {self.scheduler or 'on this machine'} ({one_line(error)}). What is "
                "finished is kept; the same command goes on."
            ) from None


class InFlight(NamedTuple):
    """A trial that a worker has."""

    trial: Trial
    future: Future
    worker: str


class Dispatch:
    """Places trials on workers, and hears what becomes of them.

    The driver chooses the worker of each trial. The scheduler would start the task of a lost worker again as it was
    sent, from a checkpoint that is old by then; bound to that worker it cannot, and the driver sends a new one.
    """

    def __init__(
        self, dask: Dask, client: Client, crew: WorkerPool, queue: Queue, plugins: tuple[tuple[str, bytes], ...]
    ) -> None:
        self.dask = dask
        self.client = client
        self.crew = crew
        self.queue = queue
        self.plugins = plugins
        self.mail = Mail(f"metabench-{uuid.uuid4().hex}", client)
        self.flights: dict[str, InFlight] = {}
        """By the key of the task."""
        self.begun: set[str] = set()
        """Keys of tasks that have said so."""
        self.any_begun = False
        self.until: float | None = None
        """When to give up waiting, once asked to stop."""

    def run(self, on_progress: Callable[[Any], None], stopping: Callable[[], bool]) -> Iterator[Outcome]:
        """See Dask.run."""
        try:
            while True:
                self.crew.look(self.any_begun)
                if self.until is None and not stopping():
                    self.fill()
                over = [key for key, flight in self.flights.items() if flight.future.done()]
                yield from self.hear(on_progress)
                if self.until is None:
                    yield from self.reap(over)
                if self.until is None and stopping():
                    self.until = time.monotonic() + GRACE
                    self.client.cancel([flight.future for flight in self.flights.values()])
                if self.until is not None and (time.monotonic() > self.until or not self.leaving()):
                    return
                if not self.flights and not self.queue:
                    return
                time.sleep(TICK)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel([flight.future for flight in self.flights.values()])
                self.mail.close()

    def fill(self) -> None:
        """Give every free place a trial, the emptiest worker first."""
        taken = Counter(flight.worker for flight in self.flights.values())
        free = Counter({address: member.places - taken[address] for address, member in self.crew.members.items()})
        while free and (most := free.most_common(1)[0])[1] > 0:
            trial = self.queue.take()
            if trial is None:
                return
            self.begin(trial, most[0])
            free[most[0]] -= 1

    def begin(self, trial: Trial, worker: str) -> None:
        """Send a trial to a worker."""
        folder = self.dask.out / trial.id
        shared = self.crew.members[worker].shared
        job = Job(
            trial=trial,
            execution=self.dask.execution,
            limits=self.queue.limits,
            function=self.dask.function,
            folder=folder if shared else None,
            checkpoint=None if shared else saved(folder),
            plugins=self.plugins,
            data=os.environ.get("METABENCH_DATA", ""),
            mail=self.mail.name,
        )
        key = f"metabench-{trial.id}-{uuid.uuid4().hex[:8]}"
        resources = GPU if self.crew.cuda else None
        future = self.client.submit(
            run_job, job, key=key, pure=False, retries=0, workers=[worker], resources=resources
        )
        self.flights[key] = InFlight(trial, future, worker)
        self.any_begun = True

    def hear(self, on_progress: Callable[[Any], None]) -> Iterator[Outcome]:
        """All that the workers have said. What a task says that was given up already is passed over."""
        for key, kind, body in self.mail.get(batch=True):
            flight = self.flights.get(key)
            if flight is None:
                continue
            if kind == "began" and key in self.begun:  # the worker was lost, and is there again under its address
                self.client.cancel([flight.future])
                yield from self.died(key, f"was lost with the Dask worker {flight.worker}")
            elif kind == "began":
                self.begun.add(key)
            elif kind == "progress":
                on_progress(msgspec.convert(body, Progress))
            elif kind == "kept":
                self.keep(flight.trial, *body)
            elif kind == "outcome":
                self.forget(key)
                yield msgspec.msgpack.decode(body, type=Outcome)
            elif kind == "died":
                yield from self.died(key, body)
            elif kind == "left" and self.until is not None:
                self.forget(key)
            elif kind == "left":
                yield from self.died(key, f"was left by the Dask worker {flight.worker}, which was ending")

    def keep(self, trial: Trial, update: int, content: bytes | None) -> None:
        """Note a checkpoint, and write it if the worker could not. Without it a lost trial begins farther back."""
        if content is not None:
            try:
                FolderCheckpointStore(self.dask.out / trial.id).save(content, update)
            except OSError:
                return
        self.queue.kept(trial, update)

    def reap(self, over: list[str]) -> Iterator[Outcome]:
        """Take back what was on a worker that is gone, or whose task ended without a word."""
        for key, flight in list(self.flights.items()):
            if key in over:
                yield from self.died(key, f"on the Dask worker {flight.worker} {self.fate(flight.future)}")
            elif flight.worker not in self.crew.members:
                self.client.cancel([flight.future])
                if key in self.begun:
                    yield from self.died(key, f"was lost with the Dask worker {flight.worker}")
                else:
                    self.forget(key)
                    self.queue.mine.append(flight.trial)

    def fate(self, future: Future) -> str:
        """How a task ended, in words."""
        if future.status == "error":
            return f"failed: {one_line(future.exception(timeout=GRACE))}"
        return f"was {future.status}"

    def died(self, key: str, how: str) -> Iterator[Outcome]:
        """A trial's process ended without an outcome."""
        trial = self.flights[key].trial
        self.forget(key)
        outcome = self.queue.died(trial, how)
        if outcome:
            yield outcome

    def forget(self, key: str) -> None:
        """The task is over."""
        del self.flights[key]
        self.begun.discard(key)

    def leaving(self) -> bool:
        """Whether a worker still has to make a checkpoint, after all were asked to stop."""
        return any(key in self.begun and self.flights[key].worker in self.crew.members for key in self.flights)


def saved(folder: Path) -> bytes | None:
    """The last checkpoint in a trial's folder, if it can be read."""
    try:
        return FolderCheckpointStore(folder).load()
    except OSError:
        return None


@contextmanager
def token_in(folder: Path) -> Iterator[Path]:
    """A file that says its own name: who reads that in it sees the same folder."""
    path = folder / f".dask-{uuid.uuid4().hex}"
    try:
        path.write_text(path.name)
    except OSError as error:
        raise UserError(f"Cannot write to '{folder}': {error.strerror or error}.") from None
    for other in folder.glob(".dask-*"):
        with suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > OLD:  # its driver was killed, or hardly needs it any more
                other.unlink()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def plugin_files(execution: Execution) -> tuple[tuple[str, bytes], ...]:
    """Name and content of the driver's plugin files, those of METABENCH_PLUGINS first, as the registry has them."""
    listed = os.environ.get("METABENCH_PLUGINS", "").split(os.pathsep)
    paths = dict.fromkeys(Path(name).resolve() for name in (*listed, *execution.plugins) if name)
    return tuple((path.name, path.read_bytes()) for path in paths if path.is_file())
