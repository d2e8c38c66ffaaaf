"""The options: one table, from which commands, their help, `metabench.run` and configuration files are made.

To add an option, add its row to `Options`, and the code that uses it.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_args

import msgspec

from metabench.experiments.executors.registry import EXECUTORS
from metabench.experiments.option_rows import Option, Row
from metabench.experiments.option_values import (
    check_checkpoint_every,
    check_positive,
    check_seeds,
    read_files,
    read_names,
    read_seeds,
    read_settings,
)
from metabench.records.trials import Budget, Precision, Protocol, StrategyName
from metabench.units import bytes_of, seconds_of

OF_TRIALS = "run reproduce tune rerun"
"""Those that make experiments, from options or from a pack."""
IN_TRIALS = "run reproduce tune worker rerun"
"""The commands that compute trials."""


def check_executor(name: str) -> None:
    """Raise ValueError for an executor that there is not."""
    if name not in EXECUTORS:
        raise ValueError(f"must be {' or '.join(EXECUTORS)}, not {name!r}")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user asks for. None means: as the recipe or the default says."""

    algos: Annotated[
        tuple[str, ...],
        Option(
            "Algorithms, with commas. Default: the quick comparison.",
            "run tune",
            tune="Algorithms, with commas.",
            read=read_names,
            short="-a",
            group="What is compared",
        ),
    ] = ()
    suites: Annotated[
        tuple[str, ...], Option("Task suites, with commas.", "run tune score", read=read_names, short="-s")
    ] = ()
    seeds: Annotated[
        int | tuple[int, ...],
        Option("How many (3), or which (0,4,7).", "run reproduce", read=read_seeds, check=check_seeds),
    ] = 3
    set: Annotated[
        dict[str, dict[str, Any]],
        Option(
            "NAME.PARAMETER=VALUE of an algorithm or suite (may be repeated); VALUE,VALUE is a grid.",
            "run reproduce tune check score data",
            tune="NAME.PARAMETER=VALUE: not tuned, but set (may be repeated).",
            flag="--set",
            read=read_settings,
        ),
    ] = {}
    """By algorithm or suite: its parameters."""
    recipe: Annotated[
        str | None,
        Option(
            "Published settings of the suites: quick or paper; or a file that `metabench tune` wrote.",
            "run tune",
            tune="Where tuning begins: quick (default) or paper.",
        ),
    ] = None
    updates: Annotated[
        int | None, Option("Meta-updates.", tune="Meta-updates of each candidate.", group="Budget and scoring")
    ] = None
    meta_batch_size: Annotated[int | None, Option("Tasks per meta-update.")] = None
    validations: Annotated[int | None, Option("Validations during training.")] = None
    validate_every: Annotated[
        int | None,
        Option("Meta-updates from one validation to the next, in place of --validations.", check=check_positive),
    ] = None
    validation_tasks: Annotated[int | None, Option("Validation tasks.")] = None
    test_tasks: Annotated[int | None, Option("Test tasks.", "run reproduce score")] = None
    test_steps: Annotated[
        int | None,
        Option("Inner steps at validation and test.", "run tune score", tune="Inner steps at validation."),
    ] = None
    protocol: Annotated[
        Protocol, Option("transductive, inductive or both.", "run tune", tune="transductive or inductive.")
    ] = "transductive"
    label_permutations: Annotated[
        int, Option("Times that each test task is scored, its classes numbered anew.", "run", check=check_positive)
    ] = 1
    precision: Annotated[Precision, Option("float32; bf16 for torch's autocast; float64 for checks.")] = "float32"
    out: Annotated[
        str | None,
        Option(
            "The results folder.",
            OF_TRIALS,
            tune="The folder of the trials. Default: results/tune-...",
            short="-o",
            group="Where and how",
        ),
    ] = None
    track: Annotated[
        tuple[str, ...],
        Option(
            "Follow the run with tensorboard, mlflow, wandb or a plugin's tracker: exports/NAME.",
            "run",
            read=read_names,
        ),
    ] = ()
    jobs: Annotated[
        int | None, Option("Trials at once. Default: one per core.", OF_TRIALS, check=check_positive, short="-j")
    ] = None
    device: Annotated[
        str,
        Option(
            "auto, cpu, cuda, cuda:1 ...",
            f"{IN_TRIALS} score adapt",
            worker="auto, cpu, cuda, cuda:1 ... Default: cpu.",
        ),
    ] = "auto"
    strategy: Annotated[
        StrategyName,
        Option(
            "How tasks are batched: auto (the quickest), vectorised, compiled, threaded or captured (a CUDA graph).",
            IN_TRIALS,
        ),
    ] = "auto"
    rematerialise: Annotated[bool, Option("Compute inner steps twice to save memory (threaded).", IN_TRIALS)] = False
    plain_layers: Annotated[
        bool, Option("Run a model's own convolutions where quicker ones could (threaded, captured).", IN_TRIALS)
    ] = False
    plugins: Annotated[
        tuple[str, ...],
        Option(
            "A plugin file to load (may be repeated).",
            "run reproduce tune worker verify check list plugins score adapt export rerun data",
            flag="--plugin",
            read=read_files,
        ),
    ] = ()
    data: Annotated[
        str | None,
        Option(
            "Folder with local copies of data sets (or METABENCH_DATA).",
            "run reproduce tune worker check verify score adapt rerun data",
        ),
    ] = None
    deterministic: Annotated[
        bool, Option("Nothing measured decides, and no kernel that may vary is used.", IN_TRIALS)
    ] = False
    checkpoint_every: Annotated[
        str,
        Option(
            "A duration (60s, 10m) or a number of meta-updates.",
            IN_TRIALS,
            check=check_checkpoint_every,
            group="Limits and failures",
        ),
    ] = "60s"
    trial_timeout: Annotated[
        str | None, Option("What one trial may take: 90s, 15m, 2h.", OF_TRIALS, check=seconds_of)
    ] = None
    memory_limit: Annotated[str | None, Option("What one trial may use: 500MB, 2GB.", OF_TRIALS, check=bytes_of)] = (
        None
    )
    keep_state: Annotated[
        bool,
        Option(
            "Keep each trial's selected state beside its record, for load_learner and score.", "run reproduce worker"
        ),
    ] = True
    keep_training_state: Annotated[
        bool,
        Option(
            "Keep the end of the training too, for a run with more --updates to go on from.", "run reproduce worker"
        ),
    ] = False
    retry_failed: Annotated[
        bool, Option("Run trials again that ended in an error, a timeout or lost.", "run reproduce")
    ] = False
    rerun_changed: Annotated[
        bool, Option("Run trials again whose code or data were changed since they were run.", "run reproduce")
    ] = False
    fail_fast: Annotated[bool, Option("Stop at the first trial that fails.", "run reproduce")] = False
    executor: Annotated[
        str,
        Option(
            "; ".join(f"{name}: {row.summary}" for name, row in EXECUTORS.items()) + ".",
            OF_TRIALS,
            check=check_executor,
        ),
    ] = "local"
    scheduler: Annotated[
        str | None, Option("Of Dask: tcp://HOST:8786. Default: a cluster on this machine.", OF_TRIALS)
    ] = None

    def __post_init__(self) -> None:
        for row in rows(type(self)):
            value = getattr(self, row.name)
            if row.option.check is not None and value is not None:
                try:
                    row.option.check(value)
                except ValueError as error:
                    raise ValueError(f"{row.name} {error}") from None
        if self.validations is not None and self.validate_every is not None:
            raise ValueError("validations and validate_every say the same: give one of them")
        if self.scheduler is not None and not EXECUTORS[self.executor].takes_scheduler:
            names = " or ".join(name for name, row in EXECUTORS.items() if row.takes_scheduler)
            raise ValueError(f"scheduler goes with executor {names}")
        if self.rematerialise and self.strategy not in ("auto", "threaded"):
            raise ValueError(f"rematerialise goes with strategy threaded, not {self.strategy}")

    @property
    def budget(self) -> dict[str, int]:
        """The fields of the budget that the user set."""
        names = Budget.__struct_fields__
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@cache
def rows(table: type[Options] = Options) -> tuple[Row, ...]:
    """The table of options, row by row."""
    table_rows = []
    group = ""
    for field in msgspec.structs.fields(table):
        kind, option = get_args(field.type)
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        group = option.group or group
        table_rows.append(Row(field.name, kind, default, option, group))
    return tuple(table_rows)


def as_tuple(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """The seeds themselves, each once: 0, 1 ... for a number of them."""
    return tuple(dict.fromkeys(seeds if isinstance(seeds, tuple) else range(seeds)))
