"""metabench run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import command, console, say, stoppable, working
from metabench.errors import UserError, attempt

SHOWN = 10
"""Failed trials that are listed at the end of a run."""


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]


@command("run")
def run(
    given: dict[str, Any],
    config: Annotated[Path | None, typer.Option(help="A TOML file with these options.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the scores so far below the bars.")] = False,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials and stop.")] = False,
    write_trials: Annotated[
        Path | None, typer.Option(help="With --dry-run: a folder for one file per trial, for `metabench worker`.")
    ] = None,
) -> None:
    """Train and test algorithms on suites; finished trials are skipped, so the same command resumes."""
    from metabench.experiments.experiment import experiment
    from metabench.experiments.read_options import read_options

    if write_trials and not dry_run:
        raise UserError("--write-trials goes with --dry-run.")
    with working("reading plugins and preparing data", quiet or dry_run):
        planned = experiment(read_options(config, given), dry=dry_run)
    for notice in () if quiet else planned.notices:
        say(notice)
    if dry_run:
        if write_trials:
            write_each(write_trials, planned.pending)
        show_plan(planned)
        return
    finish(planned, watch, quiet)


def write_each(folder: Path, trials: Any) -> None:
    """Write one file per trial, for `metabench worker`."""
    import msgspec

    from metabench.records.files import write_atomically

    with attempt(f"write to '{folder}'"):
        for trial in trials:
            write_atomically(folder / f"{trial.id}.json", msgspec.json.format(msgspec.json.encode(trial), indent=1))


def show_plan(planned: Any) -> None:
    """What would run: each trial with the settings that tell it from others, and what is known to be wrong."""
    from metabench.cli.progress import counted, names_of

    names, pending = names_of(planned.trials), {trial.id for trial in planned.pending}
    for trial in planned.trials:
        say(f"{trial.id}  {names[trial.id]}{'' if trial.id in pending else ' (finished)'}")
    say(f"{counted(len(planned.trials))}, {len(pending)} of them to run, into {planned.out}.")


def finish(planned: Any, watch: bool, quiet: bool = False) -> None:
    """Run what is pending, show the table, and exit with 1 if a trial failed."""
    from metabench.cli.live_scores import LiveScores
    from metabench.cli.progress import RunView, clock, counted, names_of, workers
    from metabench.cli.tables import best_lines, results_table
    from metabench.cli.terminal import live, notices, silent
    from metabench.records.store import records
    from metabench.report.analysis.summary import summary_table

    began = time.monotonic()
    skipped = len(planned.trials) - len(planned.pending)
    note = f", {skipped} finished before" if skipped else ""
    if not quiet:
        how = f", {planned.jobs} at once, on {planned.execution.device}: starting {workers(planned.jobs)}"
        say(f"{counted(len(planned.pending))} to run{note}{how if planned.pending else ''}.")
    view = RunView(planned.pending, LiveScores(planned.pending) if watch else None, planned.jobs)
    shown = silent() if quiet else live(console, view)
    with stoppable(planned.out) as asked, shown as (on_progress, on_record):
        for outcome in planned.outcomes(on_progress, asked):
            on_record(outcome.record)
    ids = {trial.id for trial in planned.trials}
    own = [record for record in records(planned.out) if record.trial.id in ids]
    failures = [record for record in own if record.is_failure]
    if not quiet:
        summary = summary_table(own, planned.out)
        console.print(results_table(summary))
        for notice in notices(own):
            say(notice)
        for line in best_lines(summary):
            say(line)
        if planned.pending:
            say(f"{counted(len(planned.pending))} in {clock(time.monotonic() - began)}.")
        say(f"Results: {planned.out}\nReport:  metabench report {planned.out}")
    if failures:
        for line in reasons(failures, names_of(planned.trials)):
            say(line)
        again = "; --retry-failed runs them again" if any(not record.is_final for record in failures) else ""
        say(f"{len(failures)} of {counted(len(own))} failed{again}.")
    if len(own) < len(ids):
        say(f"{counted(len(ids) - len(own))} not run; the same command goes on.")
    if failures or len(own) < len(ids) or all(record.status != "ok" for record in own):
        raise typer.Exit(1)


def reasons(failures: list[Any], names: dict[str, str]) -> list[str]:
    """Who failed and why: a line each, and the rest counted where there are many."""
    lines = [f"Failed: {names[each.trial.id]}: {each.status}, {each.reason}" for each in failures[:SHOWN]]
    more = len(failures) - SHOWN
    return lines + ([f"And {more} more: metabench status lists them."] if more > 0 else [])
