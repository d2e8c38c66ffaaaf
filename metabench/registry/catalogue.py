"""What is installed, as plain data: read from the cache, without importing a plugin, until a file of one changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metabench.errors import UserError
from metabench.records.files import cache_dir, write_atomically
from metabench.registry.discovery import Entry, Plugin, load_registry, unknown_name
from metabench.registry.requirements import reason_missing
from metabench.registry.sources import Found, discover


class ListedParameter(NamedTuple):
    """A parameter, with its type and range in words."""

    name: str
    kind: str
    default: Any
    """As JSON has it."""
    help: str


class Listed(msgspec.Struct, frozen=True):
    """An algorithm or a suite, as `metabench list` shows it."""

    kind: str
    name: str
    plugin: str
    origin: str
    """Its distribution or file, with the version."""
    description: str
    requires: tuple[str, str]
    """The module that it needs besides, and the command that installs it; mostly empty."""
    parameters: tuple[ListedParameter, ...]
    recipes: dict[str, str] = {}
    """Of a suite: where the numbers of each stand."""
    compare: tuple[str, ...] = ()
    """Of a suite: the algorithms that its quick recipe compares."""
    weights: int = 0
    """Of a suite: how many its model has; 0 where it cannot be built as it stands."""

    @property
    def summary(self) -> str:
        """The first line of its description."""
        return self.description.split("\n")[0]

    @property
    def missing(self) -> str:
        """Why it cannot be used here: the module that is not installed."""
        return reason_missing(*self.requires)


class Catalogue(msgspec.Struct, frozen=True):
    """All that is registered, by kind and name, and the plugins, without their code, with what is wrong with them."""

    algorithms: dict[str, Listed]
    suites: dict[str, Listed]
    plugins: tuple[Plugin, ...]

    @property
    def broken(self) -> list[Plugin]:
        """The plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.problem]

    def named(self, name: str) -> list[Listed]:
        """The algorithm or the suite of that name, or both; raises UserError with the nearest one."""
        found = [entries[name] for entries in (self.algorithms, self.suites) if name in entries]
        if not found:
            raise self.unknown("algorithm or suite", name, (*self.algorithms, *self.suites))
        return found

    def unknown(self, kind: str, name: str, available: Iterable[str]) -> UserError:
        """The error for a name that nobody registers."""
        return unknown_name(kind, name, available, self.broken)


class Kept(msgspec.Struct, frozen=True):
    """A catalogue in the cache, and what it was made from."""

    key: str
    catalogue: Catalogue


def read_catalogue(files: tuple[str, ...] = ()) -> Catalogue:
    """What is installed, and in METABENCH_PLUGINS and `files`; plugins are imported where one has changed."""
    known = kept_catalogue(files)
    if known is None:
        known = made_of(files)
        if not known.broken:  # what was wrong with a plugin may be mended without changing it
            with suppress(OSError):
                kept = Kept(key(discover(files)), known)
                write_atomically(place(files), msgspec.json.encode(kept))
    return known


def kept_catalogue(files: tuple[str, ...] = ()) -> Catalogue | None:
    """The one in the cache; None where there is none, or a plugin has changed since."""
    try:
        kept = msgspec.json.decode(place(files).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return kept.catalogue if kept.key == key(discover(files)) else None


def place(files: tuple[str, ...]) -> Path:
    """Where the catalogue of this environment and these files is kept."""
    words = "\0".join((sys.prefix, os.environ.get("METABENCH_PLUGINS", ""), *files))
    return (
        cache_dir()
        / "catalogue"
        / f"{hashlib.sha256(words.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.json"
    )


def key(plugins: Iterable[Found]) -> str:
    """A digest of our version, of Python's, and of every plugin's name, version and code."""
    digest = hashlib.sha256(f"{importlib.metadata.version('metabench')} {sys.version}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):  # what reads signatures and docstrings
        digest.update(path.read_bytes())
    packages: dict[str, None] = {}
    for plugin in plugins:
        digest.update(repr(plugin[:3]).encode("utf-8", "backslashreplace"))
        for module in plugin.file.modules if plugin.file else ():
            digest.update(hashlib.sha256(module.source).digest())
        if not plugin.file:
            packages[plugin.source.partition(":")[0].partition(".")[0]] = None
    for path in (path for package in packages for path in code_of(package)):
        with suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_of(package: str) -> Iterator[Path]:
    """The files of an installed package, or its one file."""
    with suppress(ImportError, ValueError):
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            yield from sorted(Path(folder).rglob("*.py"))
        if spec and spec.origin and not spec.submodule_search_locations:
            yield Path(spec.origin)


def made_of(files: tuple[str, ...]) -> Catalogue:
    """The catalogue by importing all plugins."""
    registry = load_registry(files)
    algorithms, suites = (
        {name: listed(entry, registry.origin(entry.kind, name)) for name, entry in entries.items()}
        for entries in (registry.algorithms, registry.suites)
    )
    return Catalogue(algorithms, suites, tuple(plugin._replace(file=None) for plugin in registry.plugins))


def listed(entry: Entry, origin: str) -> Listed:
    """An entry as plain data."""
    parameters = tuple(
        ListedParameter(p.name, p.kind, msgspec.json.decode(msgspec.json.encode(p.default)), p.help)
        for p in entry.parameters.values()
    )
    plain = Listed(entry.kind, entry.name, entry.plugin, origin, entry.description, entry.requires, parameters)
    if entry.kind == "suite":
        with suppress(Exception, SystemExit):  # a stranger's suite that needs a path, say
            suite = entry.factory()
            plain = msgspec.structs.replace(
                plain,
                recipes={name: recipe.source for name, recipe in suite.recipes.items()},
                compare=suite.recipes["quick"].compare if "quick" in suite.recipes else (),
                weights=sum(weight.numel() for weight in suite.model().parameters()),
            )
    return plain
