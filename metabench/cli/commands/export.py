"""metabench export: results for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.commands import command, say
from metabench.cli.commands.results import Results
from metabench.experiments.options import Options


@command("export")
def export(
    options: Options,
    results: Results,
    to: Annotated[str, typer.Option(help="csv, parquet, tensorboard, mlflow, wandb, or a plugin's tracker.")],
    out: Annotated[Path | None, typer.Option(help="Where it goes. Default: exports/NAME/FORMAT.")] = None,
) -> None:
    """Write settings, curves, times and scores of every trial for other programs."""
    from metabench.cli.progress import counted
    from metabench.experiments.exports import export as written
    from metabench.experiments.trackers import place
    from metabench.records.packs import opened
    from metabench.records.store import existing

    root = existing(opened(results))
    folder = out or place(root, to)
    number = written(root, to, folder, options.plugins)
    say(f"{counted(number)}: {folder}")
