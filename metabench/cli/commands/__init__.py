"""The command line, a module a group of commands: what they share is here."""

from __future__ import annotations

import sys
from importlib.metadata import version
from platform import python_version
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="metabench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 140)  # a log is not folded at 80 columns

Plugin = Annotated[list[str] | None, typer.Option("--plugin", help="A plugin file to load (may be repeated).")]
Data = Annotated[str | None, typer.Option(help="Folder with local copies of data sets (or METABENCH_DATA).")]


def show_version(asked: bool) -> None:
    """Of metabench and of torch, by whose kernels a score may differ; imports neither."""
    if asked:
        say(f"metabench {version('metabench')}, torch {version('torch')}, Python {python_version()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the versions and stop.")
    ] = False,
) -> None:
    """Benchmark gradient-based meta-learners: algorithms x suites x seeds, one command, honest intervals."""


def say(text: str) -> None:
    """Plain text, never wrapped or coloured."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
