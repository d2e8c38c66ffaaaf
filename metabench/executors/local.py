"""Trials in a pool of local processes. Knows trials only: the function that runs one is given to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from metabench.trials import Outcome, Progress, Record, Trial

RunTrial = Callable[..., Outcome]


def run_local(
    trials: tuple[Trial, ...],
    function: RunTrial,
    jobs: int,
    on_progress: Callable[[Progress], None],
) -> Iterator[Outcome]:
    """The outcomes as they arrive, from `function(trial, report=...)` in at most `jobs` processes at once.

    A process that dies takes the others of its pool with it; what was unfinished runs again, each in a process
    of its own, and a trial whose process dies once more is recorded as lost.
    """
    if not trials:
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        signs: Any = manager.Queue()
        listener = threading.Thread(target=listen, args=(signs, on_progress), daemon=True)
        listener.start()
        try:
            left = {trial.id: trial for trial in trials}
            for outcome in run_pool(trials, function, jobs, signs):
                left.pop(outcome.record.trial.id)
                yield outcome
            for trial in left.values():
                yield next(run_pool((trial,), function, 1, signs), None) or lost(trial)
        finally:
            signs.put(None)
            listener.join(timeout=5)


def run_pool(trials: tuple[Trial, ...], function: RunTrial, jobs: int, signs: Any) -> Iterator[Outcome]:
    """The outcomes of one pool, until it breaks."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(trials)), mp_context=context, initializer=begin_worker)
    try:
        futures: list[Future[Outcome]] = [pool.submit(function, trial, report=signs.put) for trial in trials]
        for future in as_completed(futures):
            with suppress(BrokenProcessPool):
                yield future.result()
    except BaseException:  # Ctrl-C, or the caller is done with us: stop the workers, which ignore Ctrl-C
        for process in list(pool._processes.values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin_worker() -> None:
    """Leave Ctrl-C to the driver, and one thread to each library."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def listen(signs: Any, on_progress: Callable[[Progress], None]) -> None:
    """Hand on what the workers report, until told to stop."""
    while (sign := signs.get()) is not None:
        on_progress(sign)


def lost(trial: Trial) -> Outcome:
    """The record of a trial whose process died."""
    reason = "its process died twice without an error, as when the system is out of memory"
    return Outcome(Record(trial=trial, status="lost", reason=reason), {})
