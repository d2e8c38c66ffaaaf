"""metabench report | status | clean | verify: what is done with results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from metabench.commands import Data, Plugin, app, console, say

Results = Annotated[Path, typer.Argument(help="A results folder.")]


@app.command()
def report(
    results: Results,
    out: Annotated[Path | None, typer.Option(help="Where the report goes. Default: reports/NAME.")] = None,
) -> None:
    """Turn results into index.html, report.md, tables and figures."""
    from metabench.report import write_report

    say(f"Report: {write_report(results, out or Path('reports') / Path(os.path.realpath(results)).name)}")


@app.command()
def status(results: Results) -> None:
    """What is done, running, failed and left in a results folder, and how long that may take."""
    from metabench.console import plain_table
    from metabench.units import describe
    from metabench.upkeep import status_of

    found = status_of(results)
    counts = ", ".join(f"{number} {name}" for name, number in found.counts.items())
    say(f"{results}: {counts}; {found.left} left of {found.planned}.")
    for line in found.failures:
        say(f"  {line}")
    if found.running:
        console.print(plain_table(("running or interrupted", "where", "updates", "computed for"), found.running))
    if found.seconds is not None:
        say(f"About {describe(found.seconds)} of computing are left, one trial at a time.")


@app.command()
def clean(
    results: Results,
    failed: Annotated[bool, typer.Option("--failed", help="Records of errors, timeouts and lost trials.")] = False,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Checkpoints of unfinished trials.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Files that were set aside as damaged.")] = False,
    trial: Annotated[list[str] | None, typer.Option(help="All of the trial with this id (may be repeated).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and stop.")] = False,
) -> None:
    """Remove what is named, and nothing else."""
    from metabench.upkeep import clean as remove

    paths = remove(results, failed=failed, checkpoints=checkpoints, damaged=damaged, trials=trial or [], dry=dry_run)
    for path in paths:
        say(str(path))
    say(f"{len(paths)} files {'would be ' if dry_run else ''}removed.")


@app.command()
def verify(
    results: Results,
    sample: Annotated[int, typer.Option(help="How many trials to run again.", min=1)] = 3,
    jobs: Annotated[int, typer.Option(help="Trials at once.", min=1)] = 1,
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Run a sample of the finished trials again and compare them with their records, bit for bit."""
    from metabench.console import plain_table
    from metabench.verify import verify as compare

    found = list(compare(results, sample, jobs, tuple(plugin or ()), data))
    console.print(plain_table(("trial", "result", "what was seen"), found))
    if any(each.result != "same" for each in found):
        raise typer.Exit(1)
