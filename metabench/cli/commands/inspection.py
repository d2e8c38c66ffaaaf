"""metabench list | plugins | check: what there is to run, and whether it is what it says."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from metabench.cli.commands import command, console, print_json, say, working
from metabench.errors import UserError
from metabench.experiments.options import Options

if TYPE_CHECKING:
    from metabench.registry.catalogue import Listed

OPTIONAL = (
    ("distributed", "--executor dask", "pip install 'metabench[dask]'"),
    ("optuna", "metabench tune", "pip install 'metabench[tune]'"),
    ("pyarrow", "export --to parquet", "pip install 'metabench[export]'"),
)
"""Packages that metabench can do without, beside those of trackers: module, what for, and how to get it."""


@command("list")
def list_(
    options: Options,
    name: Annotated[str, typer.Argument(help="One algorithm or suite, in full.", show_default=False)] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page: docs/authors/gallery.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every parameter.")] = False,
) -> None:
    """Algorithms and suites, a line each; one by its name in full."""
    from metabench.cli.gallery import gallery
    from metabench.cli.tables import short_table
    from metabench.experiments.setup import open_catalogue

    known = open_catalogue(options)
    if as_json:
        print_json(known.named(name) if name else (*known.algorithms.values(), *known.suites.values()))
    elif name:
        for entry in known.named(name):
            show(entry)
    elif markdown:
        print(gallery(known).rstrip())
    else:
        for title, entries in (("algorithm", known.algorithms), ("suite", known.suites)):
            rows = ((name, line_of(entries[name])) for name in sorted(entries))
            console.print(short_table((title, "what it is"), rows))
        say("metabench list NAME tells all of one: its parameters, with --set.")
        for broken in known.broken:
            say(f"Plugin '{broken.name}' could not be loaded: {broken.problem}.")


def line_of(entry: Listed) -> str:
    """What it is, or why it cannot be used."""
    return f"Not usable: {entry.missing}" if entry.missing else entry.summary


def show(entry: Listed) -> None:
    """All that is known of one algorithm or suite."""
    say(f"{entry.kind} {entry.name}, of {entry.origin or f'plugin {entry.plugin}'}\n")
    say(entry.description or "Its author does not say what it is.")
    if entry.missing:
        say(f"\nNot usable: {entry.missing}")
    for parameter in entry.parameters:
        say(f"\n  --set {entry.name}.{parameter.name}={json.dumps(parameter.default)}   {parameter.kind}")
        if parameter.help:
            say(f"      {parameter.help}")
    for name, source in entry.recipes.items():
        say(f"\n  --recipe {name}\n      {source}")


@command("plugins")
def plugins(
    options: Options,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every plugin that was found, what it provides, and what is wrong with it."""
    from metabench.cli.tables import WordTable
    from metabench.experiments.trackers import BUILT_IN
    from metabench.registry.catalogue import read_catalogue
    from metabench.registry.requirements import reason_missing

    known = read_catalogue(options.plugins)
    missing = {entry.plugin: entry.missing for entry in (*known.algorithms.values(), *known.suites.values())}
    if as_json:
        print_json([plugin._asdict() for plugin in known.plugins])
        return
    columns = ("plugin", "provides", "version", "source", "problem")
    rows = [
        (p.name, ", ".join(p.provides), p.version, p.source, p.problem or missing.get(p.name, ""))
        for p in known.plugins
    ]
    console.print(WordTable(columns, rows, spare=("source", "version")))
    tracked = ((of.package, f"--track {name}", of.install) for name, of in BUILT_IN.items())
    for module, use, install in (*OPTIONAL, *tracked):
        if reason := reason_missing(module, install):
            say(f"For {use}: {reason}.")


@command("check")
def check(
    options: Options,
    name: Annotated[str, typer.Argument(help="An algorithm or a suite, or the file of a plugin.")],
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="CHECK", help="Say what a check does, and what breaks it.")
    ] = None,
) -> None:
    """Run the conformance kit on a plugin: is it what it says it is?"""
    from metabench import testing
    from metabench.cli.tables import WordTable
    from metabench.errors import missing
    from metabench.experiments.setup import open_registry, use_data
    from metabench.testing.conformance import kit_of

    if name.endswith(".py"):
        options, name = of_file(options, name)
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
    with working(f"checking {name}"):
        results = kit.results()
    if all(result.verdict == "skipped" for result in results):
        raise UserError(f"Nothing of '{name}' could be checked: {results[0].message}.")
    failures = [result for result in results if result.verdict == "failed"]
    seen = ((r.check, r.verdict, "see below" if r in failures else r.message) for r in results)
    console.print(WordTable(("check", "result", "what was seen"), seen))
    for failure in failures:
        say(f"\n{failure.check} failed. {failure.message}")
        say(f"  More: metabench check {name} --explain {failure.check}")
    if failures:
        raise typer.Exit(1)


def of_file(options: Options, file: str) -> tuple[Options, str]:
    """Options with a plugin file, and the one name that it registers; raises UserError."""
    from metabench.experiments.setup import open_catalogue

    options = msgspec.structs.replace(options, plugins=(*options.plugins, file))
    known = open_catalogue(options)
    names = next(plugin for plugin in known.plugins if plugin.source == os.path.realpath(file)).provides
    if len(set(names)) != 1:
        raise UserError(f"'{file}' registers {', '.join(names)}: metabench check NAME --plugin {file}.")
    return options, names[0]
