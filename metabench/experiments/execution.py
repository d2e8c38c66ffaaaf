"""How trials are computed: the one place where an Execution is made, and the function that workers run."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.records.checkpoints import CheckpointStore
from metabench.records.plugin_files import PluginFile
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry
from metabench.units import seconds_of


def make_execution(options: Options, device: str, threads: int, plugins: tuple[PluginFile, ...]) -> Execution:
    """How each trial is computed, on a device that was chosen, with this many threads and these plugin files."""
    every = options.checkpoint_every
    return Execution(
        device=device,
        threads=threads,
        strategy="threaded" if options.rematerialise else options.strategy,
        rematerialise=options.rematerialise,
        plain_layers=options.plain_layers,
        plugins=plugins,
        deterministic=options.deterministic,
        checkpoint_seconds=None if every.isdigit() else seconds_of(every),
        checkpoint_updates=int(every) if every.isdigit() else None,
        keep_state=options.keep_state,
        keep_training_state=options.keep_training_state,
    )


def plan_execution(
    options: Options, trials: int, registry: Registry, training: int | None = None
) -> tuple[Execution, int]:
    """How each trial is computed on this machine, and how many at once: never more threads than cores.

    `training` are those of the trials that train, where others wait for them: unless the user says how many run at
    once, the cores are theirs. Imports torch. Raises UserError for a device that cannot be used.
    """
    device = usable_device(options)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = device_count() if device == "cuda" and not options.scheduler else 1
    usual = min(cores if device == "cpu" else devices, training or trials)
    jobs = max(1, min(options.jobs or usual, trials))
    execution = make_execution(options, device, max(1, cores // jobs), registry.files)
    return msgspec.structs.replace(execution, devices=devices), jobs


def device_count() -> int:
    """CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count()


def usable_device(options: Options) -> str:
    """The device that was asked for, or for `auto` the best one. Raises UserError."""
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device="meta" if options.scheduler else device)  # the workers' machines have devices of theirs
        if device.startswith("meta"):
            raise RuntimeError("it computes nothing")
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"Cannot use device '{device}': {reason}. Choose another with --device.") from None
    return device


def run_trial(
    trial: Trial,
    execution: Execution,
    report: Callable[[Progress], None],
    *,
    keeper: CheckpointStore,
    stopping: Callable[[], bool],
) -> Outcome:
    """engine.run.run_trial, imported when a worker calls it, so that the driver never imports torch (0.5 GB)."""
    from metabench.engine import run

    return run.run_trial(trial, execution, report, keeper=keeper, stopping=stopping)
