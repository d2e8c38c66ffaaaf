"""Worker side of the Dask executor: one task runs one trial in a child process, and reports to the driver."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from distributed import Queue as MessageQueue
from distributed import Worker, get_worker

from metabench.errors import one_line
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.registry import RunTrial
from metabench.experiments.executors.worker_process import CheckpointSaved, TrialRequest
from metabench.records.checkpoints import CheckpointStore
from metabench.records.locks import Claim
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial

PROGRESS_INTERVAL_S = 1.0
"""Seconds between heartbeats, which all go through one scheduler."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker is sent for a trial."""

    trial: Trial
    execution: Execution
    limits: Limits
    function: RunTrial
    folder: Path | None
    """The trial's folder, if the worker sees the results folder; None: checkpoints go to the driver."""
    checkpoint: bytes | None
    """The last one, where there is no folder."""
    data: str
    """The driver's METABENCH_DATA."""
    messages: str
    """The Dask queue to the driver."""


class DriverChannel:
    """Ordered messages to the driver: (task key, kind, body).

    `began`; `progress` with a Progress as a dict; `kept` with the update and, unless it is in its folder, the
    checkpoint; `outcome` with an Outcome in msgpack; `died` with the way in which the trial's process ended; `left`.
    """

    def __init__(self, name: str, key: str) -> None:
        self.queue = MessageQueue(name)
        self.key = key
        self.next_progress = 0.0

    def send(self, kind: str, body: Any = None) -> None:
        """Send one message; when this returns the scheduler has it."""
        self.queue.put((self.key, kind, body))

    def forward(self, message: Any) -> None:
        """Send on a message of the trial's process; of heartbeats without a score one per interval."""
        if isinstance(message, CheckpointSaved):
            self.send("kept", (message.update, message.content))
        elif isinstance(message, Progress) and (message.score is not None or time.monotonic() >= self.next_progress):
            self.next_progress = time.monotonic() + PROGRESS_INTERVAL_S
            self.send("progress", msgspec.to_builtins(message))


class NoLocks:
    """No locks: the driver holds them."""

    def claim(self, trial: Trial) -> Claim:
        """See TrialLocks."""
        return Claim.ACQUIRED

    def release(self, trial: Trial) -> None:
        """See TrialLocks."""


class SingleTrialQueue(Queue):
    """The queue of one trial. Its checkpoints and deaths are reported; the driver decides what follows."""

    def __init__(self, job: Job, channel: DriverChannel) -> None:
        super().__init__([job.trial], NoLocks(), job.limits)
        self.shared = job.folder is not None
        self.channel = channel

    def on_checkpoint(self, trial: Trial, update: int) -> None:
        """See Queue. A checkpoint that is in no folder is forwarded with its content, by Local."""
        if self.shared:
            self.channel.forward(CheckpointSaved(update, None))

    def on_worker_death(self, trial: Trial, how: str) -> Outcome | None:
        """See Queue."""
        self.channel.send("died", how)
        return None


def run_job(job: Job) -> None:
    """The Dask task. Everything that comes of it goes through the channel."""
    worker = get_worker()
    key = str(worker.get_current_task())
    # A Dask worker is daemonic by default, and daemons may have no children. Ours ends when its pipe closes.
    multiprocessing.current_process().daemon = False
    channel = DriverChannel(job.messages, key)
    channel.send("began")
    try:
        request = TrialRequest(job.trial, job.execution, job.folder, job.checkpoint)
        local = Local(lambda trial: request, partial(compute, job.function, job.data), 1)
        for outcome in local.run(SingleTrialQueue(job, channel), channel.forward, lambda: not wanted(worker, key)):
            channel.send("outcome", msgspec.msgpack.encode(outcome))
    except Exception as error:
        channel.send("died", f"could not be run by the Dask worker {worker.address}: {one_line(error)}")
    finally:
        channel.send("left")
        channel.queue.close()


def wanted(worker: Worker, key: str) -> bool:
    """Whether the task should go on: not if it was cancelled, the driver is gone or the worker ends."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "executing" and worker.status.name in ("running", "paused")


def compute(
    function: RunTrial,
    data: str,
    trial: Trial,
    execution: Execution,
    report: Callable[[Progress], None],
    *,
    keeper: CheckpointStore,
    stopping: Callable[[], bool],
) -> Outcome:
    """Run in the trial's process: only the driver's plugin files, and the driver's data folder if it is here too."""
    os.environ.pop("METABENCH_PLUGINS", None)
    if "METABENCH_DATA" not in os.environ and data and Path(data).is_dir():
        os.environ["METABENCH_DATA"] = data
    return function(trial, execution, report, keeper=keeper, stopping=stopping)


def sees(path: Path, content: str) -> bool:
    """Whether this worker sees the driver's token file, and can write beside it."""
    try:
        return path.read_text(encoding="utf-8") == content and os.access(path.parent, os.W_OK)
    except (OSError, UnicodeDecodeError):
        return False
