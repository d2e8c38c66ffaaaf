"""metabench tune."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import Data, Plugin, app, console, say
from metabench.cli.commands.run import names, settings


@app.command()
def tune(
    algos: Annotated[str | None, typer.Option(help="Algorithms, with commas.")] = None,
    suites: Annotated[str | None, typer.Option(help="Task suites, with commas.")] = None,
    trials: Annotated[int, typer.Option(help="Candidates for each algorithm on each suite.")] = 30,
    space: Annotated[
        list[str] | None,
        typer.Option(help="NAME.PARAMETER=LOW:HIGH, LOW:HIGH:log or A,B,C (may be repeated)."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds at which each candidate is trained: 1000, 1001 ...")] = 1,
    sampler_seed: Annotated[int, typer.Option(help="Another one proposes other candidates.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME.PARAMETER=VALUE: not tuned, but set (may be repeated)."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Where tuning begins: quick (default) or paper.")] = None,
    updates: Annotated[int | None, typer.Option(help="Meta-updates of each candidate.")] = None,
    meta_batch_size: Annotated[int | None, typer.Option(help="Tasks per meta-update.")] = None,
    validations: Annotated[int | None, typer.Option(help="Validations during training.")] = None,
    validation_tasks: Annotated[int | None, typer.Option(help="Validation tasks.")] = None,
    test_steps: Annotated[int | None, typer.Option(help="Inner steps at validation.")] = None,
    protocol: Annotated[str | None, typer.Option(help="transductive or inductive.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the options of `run`.")] = None,
    out: Annotated[str | None, typer.Option(help="The folder of the trials. Default: results/tune-...")] = None,
    write: Annotated[Path | None, typer.Option(help="The recipe file. Default: tuned.toml in that folder.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Trials at once. Default: one a core.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = None,
    strategy: Annotated[str | None, typer.Option(help="See `metabench run`.")] = None,
    precision: Annotated[str | None, typer.Option(help="See `metabench run`.")] = None,
    plugin: Plugin = None,
    data: Data = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="See `metabench run`.")] = False,
    checkpoint_every: Annotated[str | None, typer.Option(help="See `metabench run`.")] = None,
    trial_timeout: Annotated[str | None, typer.Option(help="What one trial may take: 90s, 15m, 2h.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="What one trial may use: 500MB, 2GB.")] = None,
    executor: Annotated[str | None, typer.Option(help="local processes, or dask for many machines.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Of Dask: tcp://HOST:8786.")] = None,
) -> None:
    """Tune algorithms on validation tasks, with equal budgets, into a recipe for `run`; the same command resumes."""
    from metabench.errors import UserError
    from metabench.experiments.options import read_options
    from metabench.experiments.recipes import is_file
    from metabench.experiments.tuning.drive import TuningRun
    from metabench.experiments.tuning.plan import TuningRequest, plan_tuning
    from metabench.experiments.tuning.space import spaces

    given = {
        "algos": names(algos), "suites": names(suites), "set": settings(set_ or []), "recipe": recipe,
        "updates": updates, "meta_batch_size": meta_batch_size, "validations": validations,
        "validation_tasks": validation_tasks, "test_steps": test_steps, "protocol": protocol, "out": out,
        "jobs": jobs, "device": device, "strategy": strategy, "precision": precision, "plugins": plugin,
        "data": data, "deterministic": deterministic or None, "checkpoint_every": checkpoint_every,
        "trial_timeout": trial_timeout, "memory_limit": memory_limit, "executor": executor, "scheduler": scheduler,
    }  # fmt: skip
    if write and not is_file(str(write)):
        raise UserError(f"A recipe file is called something.toml, not '{write}' (--write).")
    options = read_options(config, given)
    if is_file(options.recipe):
        raise UserError("Tuning begins at a suite's recipe, such as quick; --recipe takes no file here.")
    if options.protocol == "both":
        raise UserError("Tuning needs one score: --protocol transductive or inductive.")
    plan = plan_tuning(options, TuningRequest(trials, seeds, sampler_seed, spaces(space or [])))
    finish(TuningRun(plan), write or plan.out / "tuned.toml")


def finish(tuning: Any, path: Path) -> None:
    """Run what is left, show what was found, and write the recipe; nothing is written when stopped before the end."""
    from metabench.cli.tuning_view import live, table_of
    from metabench.experiments.interrupts import asked_to_stop

    plan = tuning.plan
    first = tuning.begin()
    before = f", {tuning.replayed} finished before" if tuning.replayed else ""
    whole = sum(spec.trials for spec in plan.specs)
    say(f"{whole} candidates on validation tasks{before}, {plan.jobs} at once, on {plan.execution.device}.")
    for spec in plan.specs:
        space = ", ".join(f"{name} {each}" for name, each in spec.space.items())
        say(f"  {spec.name}: {spec.trials} trials of {spec.base.budget.updates:,} updates; {space}")
    stopped = 0
    try:
        with asked_to_stop(
            lambda: say("Stopping: running trials make a checkpoint; Ctrl-C again stops at once.")
        ) as asked:
            with live(console, tuning) as (on_progress, on_record):
                tuning.run(first, on_progress, on_record, asked)
            stopped = asked()
    except KeyboardInterrupt:
        stopped = signal.SIGINT
    if stopped:
        say(f"Stopped. What was finished is in {plan.out}; the same command goes on from there.")
        raise typer.Exit(128 + stopped)
    if not tuning.done:
        say("Some trials are being run by another process; the same command goes on.")
        raise typer.Exit(1)
    without = tuning.write(path)
    console.print(table_of(tuning))
    for search in without:
        why = search.first_end
        say(f"{search.spec.name}: no candidate ended well, so it is not in the recipe. The first one: {why}.")
    if len(without) < len(plan.specs):
        skipped_pairs = [search.spec for search in without]
        tuned = [spec.base for spec in plan.specs if spec not in skipped_pairs]
        say(f"Recipe:  {path}\nCompare: {comparison(plan.options, tuned, path)}")
    if without:
        raise typer.Exit(1)


def comparison(options: Any, tuned: list[Any], path: Path) -> str:
    """The command that runs what was tuned, with what it needs to find it."""
    words = ["metabench", "run", "--recipe", str(path)]
    words += ["--algos", ",".join(dict.fromkeys(trial.algorithm for trial in tuned))]
    words += ["--suites", ",".join(dict.fromkeys(trial.suite for trial in tuned))]
    words += [word for file in options.plugins for word in ("--plugin", file)]
    return shlex.join(words + (["--data", options.data] if options.data else []))
