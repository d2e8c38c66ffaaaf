"""The command line, a module a group of commands: what they share is here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="metabench",
    help="Benchmark gradient-based meta-learners: algorithms x suites x seeds, one command, honest intervals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 140)  # a log is not folded at 80 columns

Plugin = Annotated[list[str] | None, typer.Option("--plugin", help="A plugin file to load (may be repeated).")]
Data = Annotated[str | None, typer.Option(help="Folder with local copies of data sets (or METABENCH_DATA).")]


def say(text: str) -> None:
    """Plain text, never wrapped or coloured."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
