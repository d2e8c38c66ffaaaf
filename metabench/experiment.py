"""An experiment: trials that are checked, run, and kept in a results folder. For the command line and notebooks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from metabench.errors import UserError, one_line
from metabench.executors.child import ChildDiedError, call
from metabench.executors.local import Local
from metabench.executors.queue import Limits, Queue
from metabench.executors.slot import Order
from metabench.options import Options
from metabench.records import store
from metabench.records.files import DamagedError
from metabench.records.locks import Claims
from metabench.records.record import FINE, Outcome, Progress
from metabench.records.trials import Execution, Trial
from metabench.units import bytes_of, seconds_of
from metabench.work import work

if TYPE_CHECKING:  # torch is imported when a command needs it, so that --help answers at once
    from metabench.registry.discovery import Registry


def folder(options: Options) -> Path:
    """Where the results go: `--out`, or a name made of what is compared, so that the same command resumes."""
    if options.out:
        return Path(options.out)
    if not options.algos and not options.suites:
        return Path("results/quickstart")
    name = "-".join(options.algos or ("default",)) + "-on-" + "-".join(options.suites or ("default",))
    return Path("results") / re.sub(r"[^a-z0-9+_-]", "_", name)[:80]


def execution_of(options: Options, trials: int) -> tuple[Execution, int]:
    """How each trial is computed, and how many at once: never more threads than cores."""
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device="meta" if options.scheduler else device)  # workers elsewhere have their own
        if device.startswith("meta"):
            raise RuntimeError("it computes nothing")
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"Cannot use device '{device}': {reason}. Choose another with --device.") from None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(options.jobs or (cores if device == "cpu" else 1), max(trials, 1))
    execution = Execution(
        device=device,
        threads=max(1, cores // jobs),
        strategy="threaded" if options.rematerialise else options.strategy,
        rematerialise=options.rematerialise,
        plugins=plugin_files(options),
        deterministic=options.deterministic,
        **options.checkpoints,
    )
    return execution, jobs


def use_data(options: Options) -> None:
    """Let this process and its children find the data folder of `--data`."""
    if options.data:
        if not os.path.isdir(options.data):  # unlike Path.is_dir, never an error
            raise UserError(f"There is no data folder '{options.data}' (--data).")
        os.environ["METABENCH_DATA"] = os.path.realpath(options.data)


def plugin_files(options: Options) -> tuple[str, ...]:
    """The plugin files named by hand, as absolute paths."""
    return tuple(os.path.realpath(name) for name in options.plugins)


def open_registry(options: Options) -> Registry:
    """The registry; a plugin file named by hand must be usable."""
    from metabench.registry.discovery import load_registry

    registry = load_registry(plugin_files(options))
    for plugin in registry.broken:
        if plugin.source in plugin_files(options):
            raise UserError(f"Cannot use the plugin file '{plugin.source}': {plugin.problem}.")
    return registry


def prepare(registry: Registry, trials: tuple[Trial, ...]) -> None:
    """Fetch and check the data of every suite, before the first trial starts."""
    from metabench.engine.build import build_suite, refuse_overlap

    for trial in {msgspec.json.encode((t.suite, t.suite_parameters)): t for t in trials}.values():
        suite = build_suite(registry, trial)
        try:
            suite.prepare()
            refuse_overlap(trial.suite, suite)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"Suite '{trial.suite}': {error}") from None
        except (Exception, SystemExit) as error:
            raise UserError(f"Suite '{trial.suite}' cannot prepare its data: {one_line(error)}.") from None


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
        claims = Claims(self.out, self.options.retry_failed)
        timeout, memory = self.options.trial_timeout, self.options.memory_limit
        limits = Limits(seconds_of(timeout) if timeout else None, bytes_of(memory) if memory else None)
        queue = Queue(self.pending, claims, limits)
        failed = Event()
        try:
            for outcome in self.executor().run(queue, on_progress, lambda: bool(stopping()) or failed.is_set()):
                self.write(outcome)
                claims.release(outcome.record.trial)
                queue.waiting.extend(more(outcome))
                if self.options.fail_fast and outcome.record.status not in FINE:
                    failed.set()
                yield outcome
        finally:
            claims.release_all()

    def executor(self) -> Executor:
        """Who runs the trials."""
        if self.options.executor == "dask":
            from metabench.executors.dask import Dask

            return Dask(self.out.resolve(), self.execution, work, self.jobs, self.options.scheduler)
        return Local(lambda trial: Order(trial, self.execution, self.out / trial.id), work, self.jobs)

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
    from metabench.planning import plan

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
            store.add_to_plan(out, trials)
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
        if not store.settled(record, retry_failed):
            pending.append(trial)
    return tuple(pending), tuple(notices)
