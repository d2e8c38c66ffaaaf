"""metabench run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import command, console, say, stoppable
from metabench.errors import UserError, attempt


@command("run")
def run(
    given: dict[str, Any],
    config: Annotated[Path | None, typer.Option(help="A TOML file with these options.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the scores so far below the bars.")] = False,
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
    """Write one file per trial, for `metabench worker`."""
    import msgspec

    from metabench.records.files import write_atomically

    with attempt(f"write to '{folder}'"):
        for trial in trials:
            write_atomically(folder / f"{trial.id}.json", msgspec.json.format(msgspec.json.encode(trial), indent=1))


def finish(planned: Any, watch: bool) -> None:
    """Run what is pending, show the table, and exit with 1 if a trial failed."""
    from metabench.cli.live_scores import LiveScores
    from metabench.cli.terminal import RunView, live, notices, results_table
    from metabench.records.store import records
    from metabench.report.analysis.summary import summary_table

    skipped = len(planned.trials) - len(planned.pending)
    note = f", {skipped} finished before" if skipped else ""
    say(f"{len(planned.pending)} trials to run{note}, {planned.jobs} at once, on {planned.execution.device}.")
    view = RunView(planned.pending, LiveScores(planned.pending) if watch else None)
    with stoppable(planned.out) as asked, live(console, view) as (on_progress, on_record):
        for outcome in planned.outcomes(on_progress, asked):
            on_record(outcome.record)
    ids = {trial.id for trial in planned.trials}
    own = [record for record in records(planned.out) if record.trial.id in ids]
    console.print(results_table(summary_table(own, planned.out), console.width))
    for notice in notices(own):
        say(notice)
    say(f"Results: {planned.out}\nReport:  metabench report {planned.out}")
    failures = [record for record in own if record.is_failure]
    if failures:
        retryable = any(not record.is_final for record in failures)
        again = "; --retry-failed runs them again" if retryable else ""
        say(f"{len(failures)} of {len(own)} trials failed; `metabench report` lists their reasons{again}.")
    if len(own) < len(ids):
        say(f"{len(ids) - len(own)} trials were not run; the same command goes on.")
    if failures or len(own) < len(ids) or all(record.status != "ok" for record in own):
        raise typer.Exit(1)
