"""metabench list | plugins | check: what there is to run, and whether it is what it says."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from metabench.commands import Data, Plugin, app, console, say


@app.command("list")
def list_(plugin: Plugin = None) -> None:
    """Algorithms and suites, with their parameters, types and defaults."""
    from metabench.experiment import open_registry
    from metabench.options import Options
    from metabench.parameters import type_name

    registry = open_registry(Options(plugins=tuple(plugin or ())))
    for title, entries in (("Algorithms", registry.algorithms), ("Suites", registry.suites)):
        console.print(f"[bold]{title}[/bold]")
        for entry in sorted(entries.values(), key=lambda entry: entry.name):
            source = f"  [dim]plugin {entry.plugin}[/dim]" if entry.plugin != entry.name else ""
            console.print(f"  [bold]{entry.name}[/bold]{source}", highlight=False)
            say(f"      {entry.summary}")
            for parameter in entry.parameters.values():
                option = f"--set {entry.name}.{parameter.name}={json.dumps(parameter.default)}"
                say(f"      {option}   {type_name(parameter.type)}")
    for broken in registry.broken:
        say(f"Plugin '{broken.name}' could not be loaded: {broken.problem}.")


@app.command()
def plugins(plugin: Plugin = None) -> None:
    """Every plugin that was found, what it provides, and what is wrong with it."""
    from metabench.console import plain_table
    from metabench.registry import load_registry

    rows = (
        (found.name, ", ".join(found.provides), found.version, found.source, found.problem)
        for found in load_registry(tuple(plugin or ())).plugins
    )
    console.print(plain_table(("plugin", "provides", "version", "source", "problem"), rows))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="An algorithm or a suite.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME.PARAMETER=VALUE of it (may be repeated).")
    ] = None,
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Run the conformance kit on a plugin: is it what it says it is?"""
    from metabench.commands.run import settings
    from metabench.console import plain_table
    from metabench.errors import UserError, missing
    from metabench.experiment import open_registry, use_data
    from metabench.options import Options
    from metabench.testing import check_plugin

    options = Options(plugins=tuple(plugin or ()), set=settings(set_ or []), data=data)
    for other in options.set.keys() - {name}:
        raise UserError(missing("This check has no algorithm or suite to --set:", other, (name,)))
    use_data(options)
    results = check_plugin(open_registry(options), name, options.set.get(name, {}))
    console.print(plain_table(("check", "result", "what was seen"), results))
    if any(result.verdict == "failed" for result in results):
        raise typer.Exit(1)
