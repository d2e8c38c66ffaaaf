"""metabench tune."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import command, console, say, stoppable


@command("tune")
def tune(
    given: dict[str, Any],
    trials: Annotated[int, typer.Option(help="Candidates for each algorithm on each suite.")] = 30,
    space: Annotated[
        list[str] | None,
        typer.Option(help="NAME.PARAMETER=LOW:HIGH, LOW:HIGH:log or A,B,C (may be repeated)."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds at which each candidate is trained: 1000, 1001 ...")] = 1,
    sampler_seed: Annotated[int, typer.Option(help="Another one proposes other candidates.", min=0)] = 0,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the options of `run`.")] = None,
    write: Annotated[Path | None, typer.Option(help="The recipe file. Default: tuned.toml in that folder.")] = None,
) -> None:
    """Tune algorithms on validation tasks, with equal budgets, into a recipe for `run`; the same command resumes."""
    from metabench.errors import UserError
    from metabench.experiments.read_options import read_options
    from metabench.experiments.recipes import is_file
    from metabench.experiments.tuning.drive import TuningRun
    from metabench.experiments.tuning.plan import TuningRequest, plan_tuning
    from metabench.experiments.tuning.space import spaces

    if write and not is_file(str(write)):
        raise UserError(f"A recipe file is called something.toml, not '{write}' (--write).")
    options = read_options(config, given)
    if is_file(options.recipe):
        raise UserError("Tuning begins at a suite's recipe, such as quick; --recipe takes no file here.")
    if options.protocol == "both":
        raise UserError("Tuning needs one score: --protocol transductive or inductive.")
    plan = plan_tuning(options, TuningRequest(trials, seeds, sampler_seed, spaces(space or [])))
    for notice in plan.notices:
        say(notice)
    finish(TuningRun(plan), write or plan.out / "tuned.toml")


def finish(tuning: Any, path: Path) -> None:
    """Run the remaining trials, show the result and write the recipe; stopped before the end, write nothing."""
    from metabench.cli.terminal import live
    from metabench.cli.tuning_view import TuningView, table_of

    plan = tuning.plan
    first = tuning.begin()
    before = f", {tuning.replayed} finished before" if tuning.replayed else ""
    whole = sum(spec.trials for spec in plan.specs)
    say(f"{whole} candidates on validation tasks{before}, {plan.jobs} at once, on {plan.execution.device}.")
    for spec in plan.specs:
        space = ", ".join(f"{name} {dimension}" for name, dimension in spec.space.items())
        say(f"  {spec.name}: {spec.trials} trials of {spec.base.budget.updates:,} updates; {space}")
    with stoppable(plan.out) as asked, live(console, TuningView(tuning)) as (on_progress, on_record):
        tuning.run(first, on_progress, on_record, asked)
    if not tuning.done:
        say("Some trials are being run by another process; the same command goes on.")
        raise typer.Exit(1)
    without = tuning.write(path)
    console.print(table_of(tuning))
    for search in without:
        why = search.first_end
        say(f"{search.spec.name}: every candidate failed, so it is not in the recipe. The first one: {why}.")
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
