"""metabench worker: one trial, anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metabench.cli.commands import command, say


@command("worker")
def worker(
    given: dict[str, Any],
    trial: Annotated[Path, typer.Argument(help="A trial as JSON: see `metabench run --dry-run --write-trials`.")],
    record: Annotated[Path, typer.Argument(help="Where its record goes: results/NAME/ID/record.json.")],
    threads: Annotated[int, typer.Option(help="Cores that it may use.", min=1)] = 1,
) -> None:
    """Run one trial in this process; the same command goes on from its checkpoint."""
    from metabench.cli.terminal import describe
    from metabench.experiments.read_options import read_options
    from metabench.experiments.single_trial import changed_since, run_trial_file

    options = read_options(None, {**given, "device": given["device"] or "cpu"})
    written, stopped = run_trial_file(trial, record, options, threads)
    if written is None:
        if stopped:
            say("Stopped; the same command goes on from its checkpoint.")
        elif changed := changed_since(trial, record, options):
            say(
                f"'{record}' is there already, but {', '.join(changed)} was changed since; remove it to run it again."
            )
        else:
            say(f"'{record}' is there already.")
        raise typer.Exit(128 + stopped if stopped else 0)
    say(describe(written))
    raise typer.Exit(1 if written.is_failure else 0)
