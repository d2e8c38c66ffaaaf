"""Published numbers as data: what papers report, with their sources and how each number was made.

A package with plugins may hold a file `published.toml` beside them; the installed ones together are "paper".
Such a file is found without importing its package.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from metabench.errors import UserError, attempt

NAME = "published.toml"
PAPER = "paper"
"""What `--against` calls the installed files."""

Facts = dict[str, bool | int | float | str]


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One printed number; what it says goes before what its table says."""

    value: float
    half: float | None = None
    setting: dict[str, Any] = {}
    protocol: Facts = {}
    ours: Facts = {}


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one method in one source."""

    algorithms: list[str]
    """The plugins that implement it."""
    suite: str
    metric: str
    unit: Literal["", "percent"] = ""
    source: str
    second_hand: str = ""
    """Where it was read, if not in the source itself."""
    spread: str = ""
    """What `half` is."""
    note: str = ""
    setting: dict[str, Any] = {}
    protocol: Facts = {}
    ours: Facts = {}
    """See Number."""
    cells: list[Cell]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published.toml."""

    table: list[Table]
    effects: dict[str, str] = {}


class Number(NamedTuple):
    """One published number by itself."""

    algorithms: tuple[str, ...]
    suite: str
    setting: dict[str, Any]
    """Parameters of our suite that make it the same problem; a list means any of these."""
    metric: str
    value: float
    half: float | None
    spread: str
    protocol: Facts
    ours: Facts
    """What stands for a fact of `protocol` among our settings, where it cannot be said by the same name and value, or
    for what the source does not say; an empty text where there is nothing to set. Such a difference is named, and
    hinders no comparison; another value than this does."""
    source: str
    note: str


class PublishedResults(NamedTuple):
    """All that is known to compare with."""

    numbers: tuple[Number, ...]
    effects: dict[str, str]
    """By name of a fact: what it is known to do to a number."""


def load_published(against: str) -> PublishedResults:
    """`paper` for the installed files, or else the path of one. Raises UserError."""
    paths = installed() if against == PAPER else [Path(against)]
    if not paths:
        raise UserError(f"No installed plugin package has a {NAME}. Name a file: --against FILE.toml.")
    files = [read(path) for path in paths]
    effects = {fact: text for file in files for fact, text in file.effects.items()}
    return PublishedResults(
        tuple(number for file in files for table in file.table for number in numbers(table)), effects
    )


def installed(name: str = NAME) -> list[Path]:
    """The file of that name, published.toml, of every package that registers plugins."""
    points = importlib.metadata.entry_points(group="metabench")
    packages = {point.module.split(".")[0] for point in points}
    files = []
    for package in sorted(packages):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # half uninstalled: `metabench plugins` says so
            continue
        places = (spec.submodule_search_locations if spec else None) or ()
        files += [path for place in places if (path := Path(place) / name).is_file()]
    return files


def read(path: Path) -> File:
    """A file of published numbers; raises UserError with what is wrong in it."""
    try:
        with attempt(f"read the published numbers '{path}'", "Use paper, or a TOML file."):
            return msgspec.toml.decode(path.read_bytes(), type=File)
    except (ValueError, RecursionError) as error:  # msgspec's and tomllib's are ValueErrors
        raise UserError(f"Cannot use the published numbers '{path}': {error}.") from None


def numbers(table: Table) -> Iterator[Number]:
    """Its cells in the unit of our records."""
    scale = 0.01 if table.unit == "percent" else 1.0
    source = f"{table.source} (read in {table.second_hand})" if table.second_hand else table.source
    for cell in table.cells:
        yield Number(
            tuple(table.algorithms),
            table.suite,
            {**table.setting, **cell.setting},
            table.metric,
            cell.value * scale,
            None if cell.half is None else cell.half * scale,
            table.spread,
            {**table.protocol, **cell.protocol},
            {**table.ours, **cell.ours},
            source,
            table.note,
        )
