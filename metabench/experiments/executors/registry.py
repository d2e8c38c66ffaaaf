"""The executors by name. To add one, write its file and add one row to EXECUTORS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from metabench.records.record import Outcome
from metabench.records.trials import Execution

if TYPE_CHECKING:  # --help reads this table, and needs no locks
    from metabench.experiments.executors.queue import Queue

RunTrial = Callable[..., Outcome]
"""`function(trial, execution, report, keeper=..., stopping=...)`, importable by name in another process."""


class Executor(Protocol):
    """Runs the trials that a queue hands out."""

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """Yield outcomes as they arrive; when `stopping` turns true, checkpoint the running trials and return."""
        ...


class ExecutorSetup(NamedTuple):
    """What every executor is made from."""

    folder: Path
    """The results folder."""
    execution: Execution
    function: RunTrial
    jobs: int
    """Trials at once."""
    scheduler: str | None = None
    """The address of a cluster, for those that connect to one."""


class ExecutorRow(NamedTuple):
    """One executor."""

    factory: str
    """`module:callable` that makes an Executor from an ExecutorSetup; imported when the executor is chosen."""
    summary: str
    """For --help."""
    takes_scheduler: bool = False


EXECUTORS = {
    "local": ExecutorRow("metabench.experiments.executors.local:local_executor", "processes on this machine"),
    "dask": ExecutorRow("metabench.experiments.executors.dask:Dask", "many machines", takes_scheduler=True),
}


def make_executor(name: str, setup: ExecutorSetup) -> Executor:
    """The executor of that name. Raises UserError if what it needs is not installed."""
    executor: Executor = resolve_name(EXECUTORS[name].factory)(setup)
    return executor
