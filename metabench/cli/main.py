"""The console script."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from metabench.cli.commands import app
from metabench.errors import UserError
from metabench.records.files import DamageWarning

GROUPS = ("run", "reproduce", "tune", "results", "learners", "export", "packs", "inspection", "data", "new", "worker")
"""Of commands, in the order in which --help shows them."""
for group in GROUPS:
    import_module(f"metabench.cli.commands.{group}")

USAGE: Any = typer.BadParameter.__mro__[1]
"""UsageError: click's, or that of typer's own copy of click."""


def refuse(message: str) -> NoReturn:
    """One line, and exit code 2."""
    line = Text.assemble(("metabench:", "bold red"), f" {message}")
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)
    sys.exit(2)


def in_one_line(show: Callable[..., None]) -> Callable[..., None]:
    """Show what was skipped as metabench says things, and other libraries' warnings as before."""

    def shown(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, DamageWarning):
            Console(stderr=True).print(f"metabench: {message}", markup=False, highlight=False, soft_wrap=True)
        else:
            show(message, category, *where)

    return shown


def main() -> None:
    """The console script: an error that the user can fix is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = in_one_line(warnings.showwarning)
            sys.exit(app(prog_name="metabench", standalone_mode=False))
    except UserError as error:
        refuse(str(error))
    except USAGE as error:  # an option that there is not, a number that is none
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "metabench"
        message = str(UserError(error.format_message().strip().rstrip(".")))  # some versions quote all that was typed
        if "unexpected extra argument" in message:
            message += ": several names are given with commas, as in --algos one,other"
        refuse(f"{message}. See `{command} --help`.")
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:  # `metabench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
