"""metabench list | plugins | check: what there is to run, and whether it is what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metabench.cli.commands import command, console, say

if TYPE_CHECKING:
    from metabench.registry.discovery import Entry
    from metabench.registry.parameters import Parameter


@command("list")
def list_(
    given: dict[str, Any],
    name: Annotated[str, typer.Argument(help="One algorithm or suite, in full.", show_default=False)] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page: docs/authors/gallery.md.")] = False,
) -> None:
    """Algorithms and suites, with their parameters, types and defaults."""
    from metabench.cli.gallery import gallery
    from metabench.experiments.read_options import read_options
    from metabench.experiments.setup import open_registry

    registry = open_registry(read_options(None, given))
    if name:
        for entry in registry.named(name):
            show(entry)
        return
    if markdown:
        print(gallery(registry).rstrip())
        return
    for title, entries in (("Algorithms", registry.algorithms), ("Suites", registry.suites)):
        console.print(f"[bold]{title}[/bold]")
        for entry in sorted(entries.values(), key=lambda entry: entry.name):
            source = f"  [dim]plugin {entry.plugin}[/dim]" if entry.plugin != entry.name else ""
            console.print(f"  [bold]{entry.name}[/bold]{source}", highlight=False)
            say(f"      {entry.summary}")
            if entry.missing:
                say(f"      Not usable: {entry.missing}")
            for parameter in entry.parameters.values():
                say(f"      {setting(entry, parameter)}")
    for broken in registry.broken:
        say(f"Plugin '{broken.name}' could not be loaded: {broken.problem}.")


def show(entry: Entry) -> None:
    """All that is known of one algorithm or suite."""
    say(f"{entry.kind} {entry.name}, of plugin {entry.plugin}\n")
    say(entry.description or "Its author does not say what it is.")
    if entry.missing:
        say(f"\nNot usable: {entry.missing}")
    for parameter in entry.parameters.values():
        say(f"\n  {setting(entry, parameter)}")
        if parameter.help:
            say(f"      {parameter.help}")


def setting(entry: Entry, parameter: Parameter) -> str:
    """A parameter as it is set, with its default and its type."""
    return f"--set {entry.name}.{parameter.name}={json.dumps(parameter.default)}   {parameter.kind}"


@command("plugins")
def plugins(given: dict[str, Any]) -> None:
    """Every plugin that was found, what it provides, and what is wrong with it."""
    from metabench.cli.terminal import plain_table
    from metabench.registry.discovery import load_registry

    registry = load_registry(tuple(given["plugins"] or ()))
    missing = {entry.plugin: entry.missing for entry in (*registry.algorithms.values(), *registry.suites.values())}
    rows = (
        (
            plugin.name,
            ", ".join(plugin.provides),
            plugin.version,
            plugin.source,
            plugin.problem or missing.get(plugin.name, ""),
        )
        for plugin in registry.plugins
    )
    console.print(plain_table(("plugin", "provides", "version", "source", "problem"), rows))


@command("check")
def check(
    given: dict[str, Any],
    name: Annotated[str, typer.Argument(help="An algorithm or a suite.")],
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="CHECK", help="Say what a check does, and what breaks it.")
    ] = None,
) -> None:
    """Run the conformance kit on a plugin: is it what it says it is?"""
    from metabench import testing
    from metabench.cli.terminal import plain_table
    from metabench.errors import UserError, missing
    from metabench.experiments.read_options import read_options
    from metabench.experiments.setup import open_registry, use_data
    from metabench.testing.conformance import kit_of

    options = read_options(None, given)
    for other in options.set.keys() - {name}:
        raise UserError(missing("This check has no algorithm or suite to --set:", other, (name,)))
    use_data(options)
    registry = open_registry(options)
    if explain is not None:
        say(testing.explain(registry, name, explain))
        return
    kit = kit_of(registry, name, parameters=options.set.get(name))
    for note in kit.notes:
        say(f"{note}.")
    results = kit.results()
    if all(result.verdict == "skipped" for result in results):
        raise UserError(f"Nothing of '{name}' could be checked: {results[0].message}.")
    failures = [result for result in results if result.verdict == "failed"]
    seen = ((r.check, r.verdict, "see below" if r in failures else r.message) for r in results)
    console.print(plain_table(("check", "result", "what was seen"), seen))
    for failure in failures:
        say(f"\n{failure.check} failed. {failure.message}")
        say(f"  More: metabench check {name} --explain {failure.check}")
    if failures:
        raise typer.Exit(1)
