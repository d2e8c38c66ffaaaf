"""metabench worker: one trial, anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.commands import Data, Plugin, app, say


@app.command()
def worker(
    trial: Annotated[Path, typer.Argument(help="A trial as JSON: see `metabench run --dry-run --write-trials`.")],
    record: Annotated[Path, typer.Argument(help="Where its record goes: results/NAME/ID/record.json.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int, typer.Option(help="Cores that it may use.", min=1)] = 1,
    strategy: Annotated[str, typer.Option(help="auto, vectorised, compiled or threaded.")] = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="See `metabench run`.")] = False,
    checkpoint_every: Annotated[str, typer.Option(help="See `metabench run`.")] = "60s",
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Run one trial in this process; the same command goes on from its checkpoint."""
    from metabench.cli.terminal import describe
    from metabench.experiments.options import read_options
    from metabench.experiments.single_trial import run_trial_file

    options = read_options(
        None,
        {
            "device": device, "strategy": strategy, "deterministic": deterministic,
            "checkpoint_every": checkpoint_every, "plugins": plugin, "data": data,
        },
    )  # fmt: skip
    written, stopped = run_trial_file(trial, record, options, threads)
    if written is None:
        say("Stopped; the same command goes on from its checkpoint." if stopped else f"'{record}' is there already.")
        raise typer.Exit(128 + stopped if stopped else 0)
    say(describe(written))
    raise typer.Exit(1 if written.is_failure else 0)
