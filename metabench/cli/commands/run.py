"""metabench run."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import Data, Plugin, app, console, say
from metabench.errors import UserError


def names(text: str | None) -> list[str] | None:
    """`a,b` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """`name.parameter=value` as nested dicts; a value is JSON, or else the text itself."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, parameter = path.partition(".")
        if not (equals and dot and name and parameter):
            raise UserError(f"Cannot read --set '{text}'. It looks like --set NAME.inner_lr=0.1.")
        try:
            found.setdefault(name, {})[parameter] = json.loads(value)
        except (ValueError, RecursionError):  # no JSON; or numbers too long, lists too deep to be meant
            found.setdefault(name, {})[parameter] = value
    return found


def seeds_of(text: str | None) -> int | list[int] | None:
    """`3` is how many, `0,4,7` is which."""
    try:
        return None if text is None else [int(p) for p in text.split(",") if p] if "," in text else int(text)
    except ValueError:
        raise UserError(f"--seeds takes a number (3) or a list (0,4,7), not '{text}'.") from None


@app.command()
def run(
    algos: Annotated[str | None, typer.Option(help="Algorithms, with commas. Default: the quick comparison.")] = None,
    suites: Annotated[str | None, typer.Option(help="Task suites, with commas.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many (3), or which (0,4,7).")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME.PARAMETER=VALUE of an algorithm or suite (may be repeated)."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Published settings of the suites: quick or paper.")] = None,
    updates: Annotated[int | None, typer.Option(help="Meta-updates.")] = None,
    meta_batch_size: Annotated[int | None, typer.Option(help="Tasks per meta-update.")] = None,
    validations: Annotated[int | None, typer.Option(help="Validations during training.")] = None,
    validation_tasks: Annotated[int | None, typer.Option(help="Validation tasks.")] = None,
    test_tasks: Annotated[int | None, typer.Option(help="Test tasks.")] = None,
    test_steps: Annotated[int | None, typer.Option(help="Inner steps at validation and test.")] = None,
    protocol: Annotated[str | None, typer.Option(help="transductive, inductive or both.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these options.")] = None,
    out: Annotated[str | None, typer.Option(help="The results folder.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Trials at once. Default: one a core.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="How tasks are batched: auto (the quickest, measured), vectorised, compiled or threaded."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32; bf16 for torch's autocast; float64 for checks.")
    ] = None,
    rematerialise: Annotated[
        bool, typer.Option("--rematerialise", help="Compute inner steps twice to save memory (threaded).")
    ] = False,
    plugin: Plugin = None,
    data: Data = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Nothing measured decides, and no kernel that may vary is used.")
    ] = False,
    checkpoint_every: Annotated[
        str | None, typer.Option(help="A duration (60s, 10m) or a number of meta-updates. Default: 60s.")
    ] = None,
    trial_timeout: Annotated[str | None, typer.Option(help="What one trial may take: 90s, 15m, 2h.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="What one trial may use: 500MB, 2GB.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that ended in an error, a timeout or lost.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first trial that does not end well.")
    ] = False,
    executor: Annotated[str | None, typer.Option(help="local processes, or dask for many machines.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Of Dask: tcp://HOST:8786. Default: a cluster on this machine.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the scores so far below the bars.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials and stop.")] = False,
    write_trials: Annotated[
        Path | None, typer.Option(help="With --dry-run: a folder for a file a trial, for `metabench worker`.")
    ] = None,
) -> None:
    """Train and test algorithms on suites; finished trials are skipped, so the same command resumes."""
    from metabench.experiments.experiment import experiment
    from metabench.experiments.options import read_options

    given = {
        "algos": names(algos), "suites": names(suites), "seeds": seeds_of(seeds), "set": settings(set_ or []),
        "recipe": recipe, "updates": updates, "meta_batch_size": meta_batch_size, "validations": validations,
        "validation_tasks": validation_tasks, "test_tasks": test_tasks, "test_steps": test_steps,
        "protocol": protocol, "out": out, "jobs": jobs, "device": device, "strategy": strategy,
        "precision": precision, "rematerialise": rematerialise or None, "plugins": plugin, "data": data,
        "deterministic": deterministic or None, "checkpoint_every": checkpoint_every, "trial_timeout": trial_timeout,
        "memory_limit": memory_limit, "retry_failed": retry_failed or None, "fail_fast": fail_fast or None,
        "executor": executor, "scheduler": scheduler,
    }  # fmt: skip
    if write_trials and not dry_run:
        raise UserError("--write-trials goes with --dry-run.")
    planned = experiment(read_options(config, given), dry=dry_run)
    for notice in planned.notices:
        say(notice)
    if dry_run:
        for trial in planned.trials:
            say(trial.id)
        if write_trials:
            write_each(write_trials, planned.pending)
        say(f"{len(planned.trials)} trials, {len(planned.pending)} of them to run, into {planned.out}.")
        return
    finish(planned, watch)


def write_each(folder: Path, trials: Any) -> None:
    """A file a trial, for `metabench worker`."""
    import msgspec

    from metabench.records.files import write_atomically

    try:
        for trial in trials:
            write_atomically(folder / f"{trial.id}.json", msgspec.json.format(msgspec.json.encode(trial), indent=1))
    except OSError as error:
        raise UserError(f"Cannot write to '{folder}': {error.strerror or error}.") from None


def finish(planned: Any, watch: bool) -> None:
    """Run what is pending, show the table, and exit with 1 if a trial failed."""
    from metabench.cli.live_scores import LiveScores
    from metabench.cli.terminal import live, notices, results_table
    from metabench.experiments.interrupts import asked_to_stop
    from metabench.records.store import records
    from metabench.report.build import summary_table

    skipped = len(planned.trials) - len(planned.pending)
    note = f", {skipped} finished before" if skipped else ""
    say(f"{len(planned.pending)} trials to run{note}, {planned.jobs} at once, on {planned.execution.device}.")
    stopped = 0
    try:
        with asked_to_stop(
            lambda: say("Stopping: running trials make a checkpoint; Ctrl-C again stops at once.")
        ) as asked:
            sofar = LiveScores(planned.pending) if watch else None
            with live(console, planned.pending, sofar) as (on_progress, on_record):
                for outcome in planned.outcomes(on_progress, asked):
                    on_record(outcome.record)
            stopped = asked()
    except KeyboardInterrupt:
        stopped = signal.SIGINT
    if stopped:
        say(f"Stopped. What was finished is in {planned.out}; the same command goes on from there.")
        raise typer.Exit(128 + stopped)
    ids = {trial.id for trial in planned.trials}
    mine = [record for record in records(planned.out) if record.trial.id in ids]
    console.print(results_table(summary_table(mine, planned.out), console.width))
    for notice in notices(mine):
        say(notice)
    say(f"Results: {planned.out}\nReport:  metabench report {planned.out}")
    bad = [record for record in mine if record.is_failure]
    if bad:
        failed = any(not record.is_final for record in bad)
        again = "; --retry-failed runs them again" if failed else ""
        say(f"{len(bad)} of {len(mine)} trials did not end well; `metabench report` lists their reasons{again}.")
    if len(mine) < len(ids):
        say(f"{len(ids) - len(mine)} trials were not run; the same command goes on.")
    if bad or len(mine) < len(ids) or all(record.status != "ok" for record in mine):
        raise typer.Exit(1)
