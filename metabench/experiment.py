"""An experiment: trials that are checked, run, and kept in a results folder. For the command line and notebooks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from metabench import store
from metabench.errors import UserError
from metabench.options import Options
from metabench.trials import Execution, Outcome, Progress, Trial

if TYPE_CHECKING:  # torch is imported when a command needs it, so that --help answers at once
    from metabench.registry import Registry


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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"Cannot use device '{device}': {reason}. Choose another with --device.") from None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(options.jobs or (cores if device == "cpu" else 1), max(trials, 1))
    threads = max(1, cores // jobs)
    execution = Execution(
        device=device,
        threads=threads,
        strategy="threaded" if options.rematerialise else options.strategy,
        rematerialise=options.rematerialise,
        plugins=plugin_files(options),
    )
    return execution, jobs


def plugin_files(options: Options) -> tuple[str, ...]:
    """The plugin files named by hand, as absolute paths."""
    return tuple(str(Path(name).resolve()) for name in options.plugins)


def open_registry(options: Options) -> Registry:
    """The registry; a plugin file named by hand must be usable."""
    from metabench.registry import load_registry

    if options.data:
        if not Path(options.data).is_dir():
            raise UserError(f"There is no data folder '{options.data}' (--data).")
        os.environ["METABENCH_DATA"] = str(Path(options.data).resolve())
    registry = load_registry(plugin_files(options))
    for plugin in registry.broken:
        if plugin.source in plugin_files(options):
            raise UserError(f"Cannot use the plugin file '{plugin.source}': {plugin.problem}.")
    return registry


def prepare(registry: Registry, trials: tuple[Trial, ...]) -> None:
    """Fetch and check the data of every suite, before the first trial starts."""
    from metabench.assembly import build_suite, refuse_overlap

    for trial in {msgspec.json.encode((t.suite, t.suite_parameters)): t for t in trials}.values():
        suite = build_suite(registry, trial)
        try:
            suite.prepare()
        except ValueError as error:
            raise UserError(f"Suite '{trial.suite}': {error}") from None
        refuse_overlap(trial.suite, suite)


class Experiment(NamedTuple):
    """What is to be done: checked, but not begun."""

    out: Path
    trials: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    execution: Execution
    jobs: int

    def outcomes(self, on_progress: Callable[[Progress], None] = lambda sign: None) -> Iterator[Outcome]:
        """Run what is not finished yet; each outcome is on disk before it is handed on."""
        from metabench.engine import run_trial
        from metabench.executors.local import run_local

        function = partial(run_trial, execution=self.execution)
        for outcome in run_local(self.pending, function, self.jobs, on_progress):
            try:
                store.write(self.out, outcome)
            except OSError as error:
                raise UserError(
                    f"Cannot write to '{self.out}': {error.strerror or error}. What is there already is kept; mend "
                    "this, and the same command goes on."
                ) from None
            yield outcome


def experiment(options: Options, dry: bool = False) -> Experiment:
    """Check everything that can be checked before the first trial starts; raises UserError.

    A dry one touches neither the results folder nor the data.
    """
    from metabench.planning import plan

    registry = open_registry(options)
    trials = plan(options, registry)
    out = folder(options)
    finished = store.finished(out)
    pending = tuple(trial for trial in trials if trial.id not in finished)
    execution, jobs = execution_of(options, len(pending))
    if not dry:
        store.prepare(out)
        prepare(registry, pending)
    return Experiment(out, trials, pending, execution, jobs)
