"""An experiment: options -> trials -> outcomes in a results folder. What the command line and notebooks share."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metabench import store
from metabench.errors import UserError, unknown
from metabench.trials import Budget, Execution, Outcome, Progress, Protocol, Strategy, Trial


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user asks for. None means: as the recipe or the default says."""

    algos: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    seeds: int | tuple[int, ...] = 3
    """How many (0, 1, 2 ...), or which."""
    set: dict[str, dict[str, Any]] = {}
    """By algorithm or suite: its parameters."""
    recipe: str | None = None
    updates: int | None = None
    meta_batch_size: int | None = None
    validations: int | None = None
    validation_tasks: int | None = None
    test_tasks: int | None = None
    test_steps: int | None = None
    protocol: Protocol = "transductive"
    out: str | None = None
    jobs: int | None = None
    device: str = "auto"
    strategy: Strategy = "auto"
    plugins: tuple[str, ...] = ()
    data: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {self.jobs}")
        if self.seeds == 0 or self.seeds == () or min(as_tuple(self.seeds)) < 0:
            raise ValueError(f"seeds must be a number of at least 1 or a list of them, not {self.seeds}")

    @property
    def budget(self) -> dict[str, int]:
        """The fields of the budget that the user set."""
        names = Budget.__struct_fields__
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def as_tuple(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """The seeds themselves: 0, 1 ... for a number of them."""
    return seeds if isinstance(seeds, tuple) else tuple(range(seeds)) or (seeds,)


def read_options(config: Path | None, given: Mapping[str, Any]) -> Options:
    """Options from a TOML file and, before it, those given by hand (None: not given). Raises UserError."""
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(config.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"Cannot read the configuration '{config}': {error}.") from None
    sets = values.get("set", {})
    if isinstance(sets, dict) and all(isinstance(table, dict) for table in sets.values()):
        given_sets = given.get("set") or {}
        sets = {name: sets.get(name, {}) | given_sets.get(name, {}) for name in {**sets, **given_sets}}
    values |= {name: value for name, value in given.items() if value is not None} | {"set": sets}
    for name in values:
        if name not in Options.__struct_fields__:
            raise UserError(f"Configuration '{config}': {unknown('option', name, Options.__struct_fields__)}")
    try:
        return msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        name = re.search(r"`\$\.(\w+)", str(error))
        option = f"option '{name[1]}'" if name else "the options"
        raise UserError(f"Cannot use {option}: {str(error).split(' - ')[0]}.") from None


def plan(options: Options, registry: Any) -> tuple[Trial, ...]:
    """Every trial of the experiment, resolved and checked. Raises UserError for the first thing that is wrong."""
    quick = {name: recipes_of(registry, name, {}).get("quick") for name in registry.suites}
    featured = {name: recipe.compare for name, recipe in quick.items() if recipe and recipe.compare}
    suites = options.suites or tuple(featured)
    chosen = [featured[name] for name in suites if name in featured] or featured.values()
    algorithms = options.algos or tuple(dict.fromkeys(name for names in chosen for name in names))
    for kind, names in (("suite", suites), ("algorithm", algorithms)):
        for name in names:
            registry.get(kind, name)
        if not names:
            raise UserError(f"No {kind} is registered by default; name some with --{kind[:4]}s.")
    for name in options.set:
        if name not in (*suites, *algorithms):
            raise UserError(unknown("name before the dot in --set", name, (*suites, *algorithms)))
    return tuple(
        trial
        for suite in dict.fromkeys(suites)
        for algorithm in dict.fromkeys(algorithms)
        for trial in trials_of(options, registry, suite, algorithm)
    )


def recipes_of(registry: Any, suite: str, given: dict[str, Any]) -> Mapping[str, Any]:
    """The recipes that a suite carries for these parameters of its own."""
    entry = registry.get("suite", suite)
    try:
        return entry.factory(**entry.resolve(given)).recipes
    except ValueError as error:
        raise UserError(f"Suite '{suite}': {error}") from None


def trials_of(options: Options, registry: Any, suite: str, algorithm: str) -> Iterator[Trial]:
    """One trial a seed: the user's values before the recipe's before the defaults."""
    own = options.set.get(suite, {})
    recipes = recipes_of(registry, suite, own)
    if options.recipe and options.recipe not in recipes:
        raise UserError(unknown(f"recipe of suite '{suite}'", options.recipe, recipes))
    recipe = recipes.get(options.recipe or "quick")
    fields = set(Budget.__struct_fields__)
    settings = dict(recipe.algorithms.get(algorithm, {})) if recipe else {}
    budget = (dict(recipe.budget) if recipe else {}) | {k: v for k, v in settings.items() if k in fields}
    parameters = {k: v for k, v in settings.items() if k not in fields} | options.set.get(algorithm, {})
    suite_parameters = registry.get("suite", suite).resolve((dict(recipe.suite) if recipe else {}) | own)
    recipes_of(registry, suite, suite_parameters)  # so that parameters that do not fit together fail here
    try:
        limits = msgspec.convert(budget | options.budget, Budget)
    except msgspec.ValidationError as error:
        raise UserError(f"Cannot use the budget of '{algorithm}' on '{suite}': {error}.") from None
    for seed in as_tuple(options.seeds):
        yield Trial(
            algorithm=algorithm,
            algorithm_parameters=registry.get("algorithm", algorithm).resolve(parameters),
            suite=suite,
            suite_parameters=suite_parameters,
            seed=seed,
            budget=limits,
            protocol=options.protocol,
        )


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
    execution = Execution(device=device, threads=threads, strategy=options.strategy, plugins=plugin_files(options))
    return execution, jobs


def plugin_files(options: Options) -> tuple[str, ...]:
    """The plugin files named by hand, as absolute paths."""
    return tuple(str(Path(name).resolve()) for name in options.plugins)


def open_registry(options: Options) -> Any:
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


def prepare(registry: Any, trials: tuple[Trial, ...]) -> None:
    """Fetch and check the data of every suite, before the first trial starts."""
    from metabench.engine import build_suite, refuse_overlap

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
            store.write(self.out, outcome)
            yield outcome


def experiment(options: Options, dry: bool = False) -> Experiment:
    """Check everything that can be checked before the first trial starts; raises UserError.

    A dry one touches neither the results folder nor the data.
    """
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
