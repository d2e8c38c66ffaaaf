"""The console script."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from rich.console import Console

from metabench.commands import app
from metabench.errors import UserError

for group in ("run", "results", "look", "worker"):  # in the order in which --help shows them
    import_module(f"metabench.commands.{group}")


def main() -> None:
    """The console script: an error that is the user's to mend is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        Console(stderr=True).print(f"metabench: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # `metabench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
