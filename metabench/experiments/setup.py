"""What is settled before the first trial: the folder, the device, the plugins, the data."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from metabench.errors import UserError, one_line
from metabench.experiments.options import Options
from metabench.records.trials import Execution, Trial

if TYPE_CHECKING:  # torch is imported when a command needs it, so that --help answers at once
    from metabench.api import Suite
    from metabench.experiments.suite_builder import SuiteBuilder
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


def prepare_data(builder: SuiteBuilder, trials: tuple[Trial, ...]) -> None:
    """Fetch and check the data of every suite, before the first trial starts."""
    from metabench.engine.build import refuse_overlap

    prepared: list[Suite] = []
    for trial in trials:
        suite = builder.build(trial.suite, trial.suite_parameters)
        if any(suite is each for each in prepared):
            continue
        prepared.append(suite)
        try:
            suite.prepare()
            refuse_overlap(trial.suite, suite)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"Suite '{trial.suite}': {error}") from None
        except (Exception, SystemExit) as error:
            raise UserError(f"Suite '{trial.suite}' cannot prepare its data: {one_line(error)}.") from None
