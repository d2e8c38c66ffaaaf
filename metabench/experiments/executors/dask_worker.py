"""The end of Dask that is on a worker: one task runs one trial, in a process of its own, and tells the driver."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from distributed import Queue as Mail
from distributed import Worker, get_worker

from metabench.errors import one_line
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.worker_process import CheckpointSaved, RunTrial, TrialRequest
from metabench.records.checkpoints import CheckpointStore
from metabench.records.files import write_atomically
from metabench.records.locks import Claim
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial

QUIET = 1.0
"""Seconds between signs of life, which all go through one scheduler."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker is sent for a trial."""

    trial: Trial
    execution: Execution
    limits: Limits
    function: RunTrial
    folder: Path | None
    """The trial's own, if the worker sees the results folder; None: checkpoints go to the driver."""
    checkpoint: bytes | None
    """The last one, where there is no folder."""
    plugins: tuple[tuple[str, bytes], ...]
    """Name and content of each plugin file of the driver."""
    data: str
    """The driver's METABENCH_DATA."""
    mail: str
    """The Dask queue to the driver."""


class Line:
    """The line to the driver: (key of the task, kind, body) in the order in which they were said.

    `began`; `progress` with a Progress as a dict; `kept` with the update and, unless it is in its folder, the
    checkpoint; `outcome` with an Outcome in msgpack; `died` with the way in which the trial's process ended; `left`.
    """

    def __init__(self, name: str, key: str) -> None:
        self.mail = Mail(name)
        self.key = key
        self.quiet_until = 0.0

    def say(self, kind: str, body: Any = None) -> None:
        """One message; it is with the scheduler when this returns."""
        self.mail.put((self.key, kind, body))

    def pass_on(self, message: Any) -> None:
        """What the trial's process says."""
        if isinstance(message, CheckpointSaved):
            self.say("kept", (message.update, message.content))
        elif isinstance(message, Progress) and (message.score is not None or time.monotonic() >= self.quiet_until):
            self.quiet_until = time.monotonic() + QUIET
            self.say("progress", msgspec.to_builtins(message))


class NoLocks:
    """The claims on a worker: the driver has made them."""

    def claim(self, trial: Trial) -> Claim:
        """See TrialLocks."""
        return Claim.ACQUIRED

    def release(self, trial: Trial) -> None:
        """See TrialLocks."""


class Single(Queue):
    """The queue of one trial. What becomes of it is for the driver to judge."""

    def __init__(self, job: Job, line: Line) -> None:
        super().__init__([job.trial], NoLocks(), job.limits)
        self.shared = job.folder is not None
        self.line = line

    def kept(self, trial: Trial, update: int) -> None:
        """See Queue. A checkpoint that is in no folder is told with its content."""
        if self.shared:
            self.line.pass_on(CheckpointSaved(update, None))

    def died(self, trial: Trial, how: str) -> Outcome | None:
        """See Queue."""
        self.line.say("died", how)
        return None


def run_job(job: Job) -> None:
    """The Dask task. All that comes of it is told on the line."""
    worker = get_worker()
    key = str(worker.get_current_task())
    # The process of a Dask worker is daemonic by default, and those may have no children. Ours ends with its pipe.
    multiprocessing.current_process().daemon = False
    line = Line(job.mail, key)
    line.say("began")
    try:
        plugins = unpack(job.plugins, Path(worker.local_directory) / "metabench-plugins")
        order = TrialRequest(
            job.trial, msgspec.structs.replace(job.execution, plugins=plugins), job.folder, job.checkpoint
        )
        local = Local(lambda trial: order, partial(compute, job.function, job.data), 1)
        for outcome in local.run(Single(job, line), line.pass_on, lambda: not wanted(worker, key)):
            line.say("outcome", msgspec.msgpack.encode(outcome))
    except Exception as error:
        line.say("died", f"could not be run by the Dask worker {worker.address}: {one_line(error)}")
    finally:
        line.say("left")
        line.mail.close()


def wanted(worker: Worker, key: str) -> bool:
    """Whether somebody still waits for the task: not if it was cancelled, the driver is gone or the worker ends."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "executing" and worker.status.name in ("running", "paused")


def unpack(plugins: tuple[tuple[str, bytes], ...], folder: Path) -> tuple[str, ...]:
    """Write plugin files where they do not lie yet, each in a folder named by its content; their paths."""
    paths = []
    for name, content in plugins:
        path = folder / hashlib.sha256(content).hexdigest()[:16] / name
        if not path.exists():
            write_atomically(path, content)
        paths.append(str(path))
    return tuple(paths)


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
    """In the trial's process: the driver's plugin files and no others; its data folder, if it is here too."""
    os.environ.pop("METABENCH_PLUGINS", None)
    if "METABENCH_DATA" not in os.environ and data and Path(data).is_dir():
        os.environ["METABENCH_DATA"] = data
    return function(trial, execution, report, keeper=keeper, stopping=stopping)


def sees(path: Path, content: str) -> bool:
    """Whether the worker sees the driver's file, and can write beside it."""
    try:
        return path.read_text() == content and os.access(path.parent, os.W_OK)
    except (OSError, UnicodeDecodeError):
        return False
