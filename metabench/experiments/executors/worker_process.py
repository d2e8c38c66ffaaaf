"""One worker process, both ends: it runs one trial after another, and dies with the driver."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from metabench.experiments.executors.registry import RunTrial
from metabench.processes import exit_with_parent, start_child
from metabench.records.checkpoints import CheckpointStore, FolderCheckpointStore
from metabench.records.record import StoppedError
from metabench.records.trials import Execution, Trial

STARTUP_TIMEOUT_S = 600.0
"""Seconds that a worker has to begin a trial, apart from the trial's own: a new process imports torch first."""


class TrialRequest(NamedTuple):
    """A trial for a worker: how to compute it, and where to keep its checkpoints."""

    trial: Trial
    execution: Execution
    folder: Path | None
    """The trial's folder; None: checkpoints are sent to the driver."""
    checkpoint: bytes | None = None
    """The last one that was sent, where there is no folder."""


class TrialStarted(NamedTuple):
    """The trial's time begins. How busy the machine is while the process starts is not the trial's fault."""


class CheckpointSaved(NamedTuple):
    """A checkpoint was made; its content where there is no folder to keep it."""

    update: int
    content: bytes | None


class TrialStopped(NamedTuple):
    """The trial was checkpointed and left."""


class WorkerProcess:
    """The driver's end of a worker process, and the trial that it runs."""

    def __init__(self, function: RunTrial, place: int = 0) -> None:
        self.place = place
        """Its number among those that run now: of several CUDA devices each gets as many workers as the others."""
        self.process, self.connection = start_child(serve_trials, function)
        self.trial: Trial | None = None
        self.started = 0.0
        """When its trial started; until the worker says so, the last moment at which it may."""
        self.trains = False
        """Whether its trial trains already, so that a checkpoint can be made."""

    def start(self, request: TrialRequest) -> None:
        """Give it a trial. A dead worker is noticed later, when its messages are read."""
        self.trial, self.started, self.trains = request.trial, time.monotonic() + STARTUP_TIMEOUT_S, False
        with suppress(OSError):
            self.connection.send(request._replace(execution=placed(request.execution, self.place)))

    def stop(self) -> None:
        """Ask it to checkpoint its trial and exit."""
        with suppress(OSError):
            self.connection.send(None)

    def exceeded_limit(self, seconds: float | None, memory: int | None) -> str:
        """The limit that its trial exceeds, as a reason for the record; "" for none."""
        if seconds is not None and time.monotonic() - self.started > seconds:
            return f"it took more than {seconds:g} s (--trial-timeout)"
        if memory is not None and (used := self.memory()) > memory:
            return f"it used {used / 1e6:.0f} MB, more than {memory / 1e6:.0f} MB (--memory-limit)"
        return ""

    def memory(self) -> int:
        """Resident bytes of the process and its children."""
        try:
            process = psutil.Process(self.process.pid)
            return sum(part.memory_info().rss for part in (process, *process.children(recursive=True)))
        except psutil.Error:
            return 0

    def kill(self, timeout: float = 0.0) -> str:
        """Kill it and all that it started, after `timeout` seconds to exit by itself; return how it ended."""
        self.process.join(timeout)
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


def placed(execution: Execution, place: int) -> Execution:
    """How the worker of that number computes: on one of the CUDA devices, where there are several to choose from."""
    if execution.device != "cuda" or execution.devices < 2:
        return execution
    return msgspec.structs.replace(execution, device=f"cuda:{place % execution.devices}")


def serve_trials(connection: Connection, function: RunTrial) -> None:
    """Run in the worker: run each requested trial, until told to stop or the driver is gone."""
    requests: queue.SimpleQueue[TrialRequest | None] = queue.SimpleQueue()
    stopping = threading.Event()

    def take(request: TrialRequest | None) -> None:
        if request is None:
            stopping.set()
        requests.put(request)

    threading.Thread(target=exit_with_parent, args=(connection, take), daemon=True).start()
    while (request := requests.get()) is not None:
        keeper = ReportingCheckpointStore(request, connection)
        connection.send(TrialStarted())
        try:
            outcome = function(
                request.trial, request.execution, connection.send, keeper=keeper, stopping=stopping.is_set
            )
        except StoppedError:
            connection.send(TrialStopped())
            return
        connection.send(outcome)


class ReportingCheckpointStore:
    """Reports each checkpoint to the driver, with its content where no folder is shared. A CheckpointStore."""

    def __init__(self, request: TrialRequest, connection: Connection) -> None:
        self.files: CheckpointStore | None = FolderCheckpointStore(request.folder) if request.folder else None
        self.content = request.checkpoint
        self.connection = connection

    @property
    def results(self) -> Path | None:
        """See CheckpointStore."""
        return self.files.results if self.files else None

    def save(self, content: bytes, update: int) -> None:
        """See CheckpointStore."""
        if self.files:
            self.files.save(content, update)
        self.connection.send(CheckpointSaved(update, None if self.files else content))

    def load(self) -> bytes | None:
        """See CheckpointStore."""
        return self.files.load() if self.files else self.content

    def load_shorter(self, lineage: str, updates: int) -> bytes | None:
        """See CheckpointStore; where no folder is shared a trial begins at its beginning."""
        return self.files.load_shorter(lineage, updates) if self.files else None

    def refuse(self, reason: str) -> None:
        """See CheckpointStore."""
        if self.files:
            self.files.refuse(reason)


def message_of(connection: Connection) -> Any:
    """The next message of a worker: Progress, CheckpointSaved, TrialStopped or Outcome; None if it has died."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
