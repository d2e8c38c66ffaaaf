"""The command line, one module per group of commands; what they share is here."""

from __future__ import annotations

import functools
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Annotated, Any

import typer
from rich.console import Console

from metabench.experiments.option_rows import Row
from metabench.experiments.options import Options, rows
from metabench.experiments.read_options import read_options

app = typer.Typer(
    name="metabench",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 140)  # a log is not folded at 80 columns

Command = Callable[..., None]


def command(name: str) -> Callable[[Command], Command]:
    """Add a command: a function whose first parameter is `Options`, or the dict that `read_options` makes them of.

    Its other parameters are the command's alone. The table of options says which of its rows a command takes.
    """

    def add(function: Command) -> Command:
        first, *own = inspect.signature(function, eval_str=True).parameters.values()
        shared = [parameter_of(row, name) for row in rows() if name in row.option.commands.split()]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            given = {option.name: values.pop(option.name) for option in shared}
            function(read_options(None, given) if first.annotation is Options else given, **values)

        parameters = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in (*shared, *own)]
        made: Any = run
        made.__signature__ = inspect.Signature(parameters)
        made.__annotations__ = {option.name: option.annotation for option in parameters}
        app.command(name)(run)
        return function

    return add


def parameter_of(row: Row, name: str) -> inspect.Parameter:
    """An option of the table as the parameter of a command; None where it is not given."""
    word = row.name.replace("_", "-")
    flag = row.option.flag or (f"--{word}/--no-{word}" if row.default is True else f"--{word}")
    number = row.type in (int, int | None)
    kind = bool if row.type is bool else int if number else list[str] if row.option.flag else str
    flags = (flag, row.option.short) if row.option.short else (flag,)
    complete = completion_of(row.name) if row.name in ("algos", "suites") else None
    option = typer.Option(*flags, help=row.help_for(name), rich_help_panel=row.group, autocompletion=complete)
    typed = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=typed)


def completion_of(option: str) -> Callable[[str], list[str]]:
    """What a shell offers for --algos or --suites: the names that go on from the last comma."""

    def complete(incomplete: str) -> list[str]:
        from metabench.registry.catalogue import kept_catalogue

        known = kept_catalogue()
        names = (known.algorithms if option == "algos" else known.suites) if known else {}
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in sorted(names) if name.startswith(last)]

    return complete


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


@contextmanager
def stoppable(out: Path) -> Iterator[Callable[[], int]]:
    """Yield a function that says whether Ctrl-C or SIGTERM asked to stop; then end with that signal's exit code."""
    from metabench.experiments.interrupts import asked_to_stop

    stopped = 0
    try:
        with asked_to_stop(
            lambda: say("Stopping: running trials make a checkpoint; Ctrl-C again stops at once.")
        ) as asked:
            yield asked
            stopped = asked()
    except KeyboardInterrupt:
        stopped = signal.SIGINT
    if stopped:
        say(f"Stopped. What was finished is in {out}; the same command goes on from there.")
        raise typer.Exit(128 + stopped)


def say(text: str) -> None:
    """Plain text, never wrapped or coloured."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def working(what: str, quiet: bool = False) -> AbstractContextManager[Any]:
    """Say on a terminal what is being done, until it is."""
    return console.status(f"{what} ...") if console.is_terminal and not quiet else nullcontext()


def print_json(value: Any) -> None:
    """Plain data for other programs."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())
