"""metabench pack | rerun: results as one file to send, and that file run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.commands import app, command, say
from metabench.cli.commands.results import Results
from metabench.cli.commands.run import Quiet
from metabench.experiments.options import Options


@app.command()
def pack(
    results: Results,
    out: Annotated[Path | None, typer.Option(help="The file. Default: NAME.zip.")] = None,
) -> None:
    """Make one file of results to send: records, scores, the plugins' sources, versions and the command."""
    from metabench.cli.progress import counted
    from metabench.errors import UserError
    from metabench.experiments.packing import pack as packed
    from metabench.records.store import existing

    path = out or Path(f"{existing(results).resolve().name}.zip")
    if path.suffix != ".zip":
        raise UserError(f"A pack is called something.zip, not '{path}' (--out).")
    number = packed(results, path)
    say(f"{counted(number)}: {path}, {path.stat().st_size / 1e6:.1f} MB")
    say(f"Who has it: metabench report {path.name}, or metabench rerun {path.name}")


@command("rerun")
def rerun(
    options: Options,
    pack: Annotated[Path, typer.Argument(help="A file that `metabench pack` made.")],
    trust: Annotated[bool, typer.Option("--trust", help="Run the plugin files that the pack brings.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the trials of a pack again, into a fresh folder; say which versions differ."""
    from metabench.cli.commands.run import finish
    from metabench.errors import UserError
    from metabench.experiments.packing import rerun as again
    from metabench.records.packs import is_pack

    if not is_pack(pack):
        raise UserError(f"'{pack}' is no pack; `metabench pack results/NAME` makes one.")
    planned = again(pack, options, trust)
    for notice in () if quiet else planned.notices:
        say(notice)
    if not quiet:
        say(f"Then:    metabench compare {pack} {planned.out}")
    finish(planned, watch=False, quiet=quiet)
