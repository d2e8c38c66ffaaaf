"""An experiment: many trials, checked first, then run into a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from metabench.errors import NotApplicableError
from metabench.experiments.commands import command_of
from metabench.experiments.execution import plan_execution, run_trial
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.registry import ExecutorSetup, make_executor
from metabench.experiments.options import Options
from metabench.experiments.setup import check_in_subprocess, folder, open_registry, prepare_data, use_data, with_names
from metabench.experiments.stale import outdated
from metabench.experiments.trackers import check_trackers, open_tracker, place
from metabench.experiments.trackers.follow import following
from metabench.records import requests, store
from metabench.records.files import DamagedError
from metabench.records.locks import TrialLocks
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial
from metabench.units import bytes_of, seconds_of

if TYPE_CHECKING:  # torch is imported where plugins are
    from metabench.experiments.suite_builder import SuiteBuilder


class Experiment(NamedTuple):
    """A checked plan that has not begun. Plain data."""

    out: Path
    options: Options
    trials: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    execution: Execution
    jobs: int
    notices: tuple[str, ...] = ()
    """What the user should know of the settings, and of what was found in the results folder."""
    outdated: Mapping[str, str] = MappingProxyType({})
    """By trial id the checksum of a record that is to be replaced, since the code or the data were changed."""

    @property
    def after(self) -> dict[str, str]:
        """See waiting."""
        return waiting(self.pending, self.execution.keep_state)

    def outcomes(
        self,
        on_progress: Callable[[Progress], None] = lambda sign: None,
        stopping: Callable[[], int] = lambda: 0,
        more: Callable[[Outcome], Iterable[Trial]] = lambda outcome: (),
    ) -> Iterator[Outcome]:
        """Run the pending trials; yield each outcome after it was written to disk.

        `more` gives further trials to run after an outcome. When `stopping` turns true, or after a failure under
        --fail-fast, running trials are checkpointed and left.
        """
        locks = TrialLocks(self.out, self.options.retry_failed, self.outdated)
        timeout, memory = self.options.trial_timeout, self.options.memory_limit
        limits = Limits(seconds_of(timeout) if timeout else None, bytes_of(memory) if memory else None)
        queue = Queue(self.pending, locks, limits, self.after)
        failed = Event()
        setup = ExecutorSetup(self.out, self.execution, run_trial, self.jobs, self.options.scheduler)
        executor = make_executor(self.options.executor, setup)
        files = tuple(file.path for file in self.execution.plugins)
        trackers = {name: open_tracker(name, place(self.out, name), files) for name in self.options.track}
        trials = {trial.id: trial for trial in self.pending}
        try:
            with following(trackers) as follower:

                def on_heartbeat(sign: Progress) -> None:
                    on_progress(sign)
                    if trackers and sign.trial_id in trials:
                        follower.on_progress(trials[sign.trial_id], sign)

                for outcome in executor.run(queue, on_heartbeat, lambda: bool(stopping()) or failed.is_set()):
                    with store.writing(self.out):
                        store.write(self.out, outcome)
                    locks.release(outcome.record.trial)
                    queue.on_end(outcome.record.trial)
                    queue.waiting.extend(more(outcome))
                    if self.options.fail_fast and outcome.record.is_failure:
                        failed.set()
                    if trackers:
                        follower.on_record(outcome.record)
                    yield outcome
        finally:
            locks.release_all()


def waiting(pending: tuple[Trial, ...], keep_state: bool) -> dict[str, str]:
    """By trial id that of a pending trial with the same training, whose state it takes where that is kept."""
    ids = {trial.id for trial in pending} if keep_state else set()
    alone = {trial.id: trial.trained_alone for trial in pending}
    return {name: first.id for name, first in alone.items() if first is not None and first.id in ids}


def experiment(options: Options, dry: bool = False) -> Experiment:
    """Check everything that can be checked before the first trial starts; raises UserError.

    A dry one touches neither the results folder nor the data.
    """
    use_data(options)
    return check_in_subprocess(check, with_names(options), dry)


def check(options: Options, dry: bool) -> Experiment:
    """See experiment."""
    from metabench.experiments.planning import plan_experiment
    from metabench.experiments.suite_builder import SuiteBuilder

    builder = SuiteBuilder(open_registry(options))
    trials, notices = plan_experiment(options, builder)
    return planned(options, builder, trials, notices, dry)


def planned(
    options: Options, builder: SuiteBuilder, trials: tuple[Trial, ...], settings_notices: tuple[str, ...] = (),
    dry: bool = False,
) -> Experiment:  # fmt: skip
    """An experiment of these trials: what of it is finished, and what is left to run."""
    from metabench.engine.digests import code_now

    registry, out = builder.registry, folder(options)
    check_trackers(options.track, registry)
    pending, _ = still_to_run(out, trials, options.retry_failed, dry=True)
    left = {trial.id for trial in pending}
    stale = outdated(out, [trial for trial in trials if trial.id not in left], builder, with_data=not dry)
    again = stale.records if options.rerun_changed else {}
    pending = tuple(trial for trial in trials if trial.id in left or trial.id in again)
    training = len(pending) - len(waiting(pending, options.keep_state))
    execution, jobs = plan_execution(options, len(pending), registry, training)
    execution = msgspec.structs.replace(execution, code=code_now(registry, pending))
    if not dry:
        store.ensure_writable(out)
        settings_notices = (*settings_notices, *prepare_data(builder, pending))
    else:
        settings_notices = (*settings_notices, *unfit(builder, pending))
    still, notices = still_to_run(out, trials, options.retry_failed, dry)  # sets damaged records aside
    if not dry:
        with store.writing(out):
            requests.record_request(out, trials, requests.Request(command_of(options), registry.files))
    left = {trial.id for trial in still}
    pending = tuple(trial for trial in trials if trial.id in left or trial.id in again)
    notices = (*settings_notices, *notices, *stale.lines(options.rerun_changed))
    return Experiment(out, options, trials, pending, execution, jobs, notices, again)


def unfit(builder: SuiteBuilder, trials: tuple[Trial, ...]) -> tuple[str, ...]:
    """A line for each algorithm that is not made for a suite, of suites that have no data to prepare."""
    from metabench.api import Suite
    from metabench.engine.build import build_algorithm

    known: dict[tuple[str, str], str] = {}
    for trial in trials:
        if (trial.algorithm, trial.suite) not in known:
            known[trial.algorithm, trial.suite] = ""
            with suppress(Exception, SystemExit):  # what else is wrong, or needs the data, the run says
                suite = builder.build(trial.suite, trial.suite_parameters)
                if suite.prepare is not Suite._field_defaults["prepare"]:
                    continue
                try:
                    build_algorithm(builder.registry, suite, trial, "cpu")
                except NotApplicableError as error:
                    known[trial.algorithm, trial.suite] = f"Left out: {trial.algorithm} on {trial.suite}: {error}."
    return tuple(filter(None, known.values()))


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
