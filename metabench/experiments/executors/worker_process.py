"""One worker process: it runs one trial after another, and dies with the driver. Both ends of it are here."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from metabench.experiments.executors.subprocesses import exit_with_parent, init_child
from metabench.records.checkpoints import CheckpointStore, FolderCheckpointStore
from metabench.records.record import Outcome, Progress, StoppedError
from metabench.records.trials import Execution, Trial

RunTrial = Callable[..., Outcome]
"""`function(trial, execution, report, keeper=..., stopping=...)`, importable by name in another process."""


class TrialRequest(NamedTuple):
    """A trial for a worker: how it is computed, and where its checkpoints are kept."""

    trial: Trial
    execution: Execution
    folder: Path | None
    """The trial's own; None: they are sent to the driver."""
    checkpoint: bytes | None = None
    """What was sent before, where there is no folder."""


class CheckpointSaved(NamedTuple):
    """A checkpoint after some updates: in its folder, or here."""

    update: int
    content: bytes | None


class TrialStopped(NamedTuple):
    """The trial was checkpointed and left."""


class WorkerProcess:
    """The driver's end of a worker process, and the trial that it runs."""

    def __init__(self, function: RunTrial) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, function))
        self.process.start()
        other.close()  # so that the end of the process is the end of the pipe
        self.trial: Trial | None = None
        self.began = 0.0
        self.trains = False
        """Whether its trial has begun to train, so that there is something to checkpoint."""

    def begin(self, order: TrialRequest) -> None:
        """Give it a trial. A dead worker is noticed when its answer is awaited."""
        self.trial, self.began, self.trains = order.trial, time.monotonic(), False
        with suppress(OSError):
            self.connection.send(order)

    def stop(self) -> None:
        """Ask it to checkpoint its trial and end."""
        with suppress(OSError):
            self.connection.send(None)

    def over(self, seconds: float | None, memory: int | None) -> str:
        """Which limit its trial exceeds, in words; an empty string for none."""
        if seconds is not None and time.monotonic() - self.began > seconds:
            return f"it took more than {seconds:g} s (--trial-timeout)"
        if memory is not None and (used := self.memory()) > memory:
            return f"it used {used / 1e6:.0f} MB, more than {memory / 1e6:.0f} MB (--memory-limit)"
        return ""

    def memory(self) -> int:
        """Resident bytes of the process and its children."""
        try:
            process = psutil.Process(self.process.pid)
            return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
        except psutil.Error:
            return 0

    def kill(self, patience: float = 0.0) -> str:
        """End it and all that it started; how it ended, in words. One that is ending anyway has some seconds."""
        self.process.join(patience)
        with suppress(ProcessLookupError, PermissionError):
            if self.process.pid and os.getpgid(self.process.pid) == self.process.pid:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        code = self.process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name
            return f"was killed by {name}" + (", as when memory is short" if name == "SIGKILL" else "")
        return f"ended by itself with exit code {code}"


def serve(connection: Connection, function: RunTrial) -> None:
    """The worker's end: run what is ordered until told to stop, or until the driver is gone."""
    init_child()
    orders: queue.SimpleQueue[TrialRequest | None] = queue.SimpleQueue()
    stopping = threading.Event()

    def take(order: TrialRequest | None) -> None:
        if order is None:
            stopping.set()
        orders.put(order)

    threading.Thread(target=exit_with_parent, args=(connection, take), daemon=True).start()
    while (order := orders.get()) is not None:
        keeper = ReportingCheckpointStore(order, connection)
        try:
            outcome = function(order.trial, order.execution, connection.send, keeper=keeper, stopping=stopping.is_set)
        except StoppedError:
            connection.send(TrialStopped())
            return
        connection.send(outcome)


class ReportingCheckpointStore:
    """A CheckpointStore that tells the driver of each checkpoint, and sends it there if no folder is shared."""

    def __init__(self, order: TrialRequest, connection: Connection) -> None:
        self.files: CheckpointStore | None = FolderCheckpointStore(order.folder) if order.folder else None
        self.content = order.checkpoint
        self.connection = connection

    def save(self, content: bytes, update: int) -> None:
        """See CheckpointStore."""
        if self.files:
            self.files.save(content, update)
        self.connection.send(CheckpointSaved(update, None if self.files else content))

    def load(self) -> bytes | None:
        """See CheckpointStore."""
        return self.files.load() if self.files else self.content

    def refuse(self, reason: str) -> None:
        """See CheckpointStore."""
        if self.files:
            self.files.refuse(reason)


Message = Progress | CheckpointSaved | TrialStopped | Outcome


def message_of(connection: Connection) -> Any:
    """The next message of a worker; None if it has died."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
