"""An experiment: trials that are checked, run, and kept in a results folder. For the command line and notebooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from metabench.errors import UserError
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.subprocesses import ChildDiedError, call
from metabench.experiments.executors.worker_process import TrialRequest
from metabench.experiments.options import Options
from metabench.experiments.setup import execution_of, folder, open_registry, prepare, use_data
from metabench.experiments.work import work
from metabench.records import store
from metabench.records.files import DamagedError
from metabench.records.locks import TrialLocks
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial
from metabench.units import bytes_of, seconds_of

if TYPE_CHECKING:  # torch is imported when a command needs it, so that --help answers at once
    pass


class Executor(Protocol):
    """Runs what a queue hands out."""

    def run(
        self, queue: Queue, on_progress: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        """The outcomes as they arrive; when `stopping` turns true running trials are checkpointed and left."""
        ...


class Experiment(NamedTuple):
    """What is to be done: checked, but not begun. Plain data."""

    out: Path
    options: Options
    trials: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    execution: Execution
    jobs: int
    notices: tuple[str, ...] = ()
    """What was found in the results folder that the user should know."""

    def outcomes(
        self,
        on_progress: Callable[[Progress], None] = lambda sign: None,
        stopping: Callable[[], int] = lambda: 0,
        more: Callable[[Outcome], Iterable[Trial]] = lambda outcome: (),
    ) -> Iterator[Outcome]:
        """Run what is not finished yet; each outcome is on disk before it is handed on.

        `more` says which further trials an outcome leads to.
        When `stopping` turns true, or after a failure under --fail-fast, running trials are checkpointed and left.
        """
        claims = TrialLocks(self.out, self.options.retry_failed)
        timeout, memory = self.options.trial_timeout, self.options.memory_limit
        limits = Limits(seconds_of(timeout) if timeout else None, bytes_of(memory) if memory else None)
        queue = Queue(self.pending, claims, limits)
        failed = Event()
        try:
            for outcome in self.executor().run(queue, on_progress, lambda: bool(stopping()) or failed.is_set()):
                self.write(outcome)
                claims.release(outcome.record.trial)
                queue.waiting.extend(more(outcome))
                if self.options.fail_fast and outcome.record.is_failure:
                    failed.set()
                yield outcome
        finally:
            claims.release_all()

    def executor(self) -> Executor:
        """Who runs the trials."""
        if self.options.executor == "dask":
            from metabench.experiments.executors.dask import Dask

            return Dask(self.out.resolve(), self.execution, work, self.jobs, self.options.scheduler)
        return Local(lambda trial: TrialRequest(trial, self.execution, self.out / trial.id), work, self.jobs)

    def write(self, outcome: Outcome) -> None:
        """Put an outcome on disk."""
        try:
            store.write(self.out, outcome)
        except OSError as error:
            raise store.unwritable(self.out, error) from None


def experiment(options: Options, dry: bool = False) -> Experiment:
    """Check everything that can be checked before the first trial starts; raises UserError.

    A dry one touches neither the results folder nor the data. Unless this process has torch already it is spared
    it: half a gigabyte that a driver of days has no use for.
    """
    use_data(options)
    if "torch" in sys.modules:
        return check(options, dry)
    try:
        return call(check, options, dry)
    except ChildDiedError:
        raise UserError(
            "The process that reads plugins and data was killed, as when memory is short. Nothing was begun."
        ) from None


def check(options: Options, dry: bool) -> Experiment:
    """See experiment."""
    from metabench.experiments.planning import plan

    registry = open_registry(options)
    trials = plan(options, registry)
    out = folder(options)
    pending, notices = still_to_run(out, trials, options.retry_failed, dry=True)
    execution, jobs = execution_of(options, len(pending))
    if not dry:
        store.prepare(out)
        prepare(registry, pending)
        pending, notices = still_to_run(out, trials, options.retry_failed, dry=False)  # sets damaged records aside
        try:
            store.record_request(out, trials)
        except OSError as error:
            raise store.unwritable(out, error) from None
    return Experiment(out, options, trials, pending, execution, jobs, notices)


def still_to_run(
    out: Path, trials: tuple[Trial, ...], retry_failed: bool, dry: bool
) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """The trials without a usable record; a damaged one is set aside, with a notice."""
    pending, notices = [], []
    for trial in trials:
        record = None
        try:
            record = store.record_of(out, trial.id)
        except DamagedError as error:
            place = out / trial.id / "record.json" if dry else store.set_aside_damaged(out, trial.id)
            notices.append(f"The record of {trial.id} cannot be used ({error}): it runs again. See '{place}'.")
        if not store.is_final(record, retry_failed):
            pending.append(trial)
    return tuple(pending), tuple(notices)
