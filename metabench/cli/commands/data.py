"""metabench data: which data sets are here, and fetching one where there is a network, as on a login node."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metabench.cli.commands import command, console, say, working
from metabench.errors import UserError, missing
from metabench.experiments.options import Options
from metabench.units import in_bytes

if TYPE_CHECKING:
    from metabench.registry.data_sets import DataSet


@command("data")
def data(
    options: Options,
    action: Annotated[str, typer.Argument(help="fetch, to download and prepare.", show_default=False)] = "",
    name: Annotated[str, typer.Argument(help="The suite whose data are fetched.", show_default=False)] = "",
) -> None:
    """The data of suites: what is here, its size, source and licence; `data fetch NAME` gets them ready for a run."""
    from metabench.experiments.setup import use_data
    from metabench.registry.data_sets import data_sets

    use_data(options)
    known = {suite: each for each in data_sets() for suite in each.suites}
    if action not in ("", "fetch") or bool(action) != bool(name):
        raise UserError("Say `metabench data`, or `metabench data fetch NAME`.")
    if action:
        fetch(options, name, known.get(name))
        return
    show(known)


def show(known: dict[str, DataSet]) -> None:
    """A row a suite."""
    from metabench.cli.tables import WordTable
    from metabench.records.files import cache_dir
    from metabench.registry.data_sets import size_of

    rows = []
    for suite, each in sorted(known.items()):
        found = each.here()
        where = ", ".join(map(str, found)) or (
            f"no; a download of {in_bytes(each.download)}" if each.download else "no; see its source"
        )
        size = in_bytes(sum(map(size_of, found))) if found else ""
        rows.append((suite, where, size, in_bytes(each.prepared) if each.prepared else "", each.source, each.licence))
    console.print(WordTable(("suite", "here", "size", "cache it takes", "source", "licence"), rows))
    if cache_dir().is_dir():
        say(f"The cache, '{cache_dir()}', has {in_bytes(size_of(cache_dir()))}; {free(cache_dir())}.")


def free(folder: Path) -> str:
    """What is left on the disk of a folder, or of the one above it that is there."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    return f"{in_bytes(shutil.disk_usage(place).free)} are free there"


def fetch(options: Options, name: str, facts: DataSet | None) -> None:
    """Download and prepare what a suite needs, having said what it takes. Raises UserError."""
    from metabench.experiments.setup import open_registry, prepare_suite
    from metabench.experiments.suite_builder import SuiteBuilder
    from metabench.records.files import cache_dir

    for other in options.set.keys() - {name}:
        raise UserError(missing("This fetches no suite to --set:", other, (name,)))
    suite = SuiteBuilder(open_registry(options)).build(name, options.set.get(name, {}))
    if facts and not facts.here() and facts.download:
        say(f"{name}: downloads {in_bytes(facts.download)} from {facts.source}. Licence: {facts.licence}.")
    if facts and facts.prepared:
        needed = facts.prepared + (0 if facts.here() else facts.download)
        say(f"{name}: takes {in_bytes(needed)} in '{cache_dir()}' if it is not there yet; {free(cache_dir())}.")
    with working(f"fetching {name}"):
        notes = prepare_suite(name, suite)
    for note in notes:
        say(note)
    say(f"The data of '{name}' are ready.")
