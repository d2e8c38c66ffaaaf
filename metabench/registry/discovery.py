"""Discovery of plugins, guarded one by one, and the names that they register."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

from metabench.errors import UserError, one_line, unknown
from metabench.records.domains import NAME, Shift, is_made, parts
from metabench.records.plugin_files import Module, PluginFile
from metabench.registry import hookspecs
from metabench.registry.added import with_added
from metabench.registry.code import digest, read_package
from metabench.registry.compound import compound
from metabench.registry.docstrings import description_of
from metabench.registry.own_models import opened
from metabench.registry.parameters import Parameter, resolve, signature_of
from metabench.registry.recipes import Key, PackageSettings, package_settings, read_settings
from metabench.registry.requirements import reason_missing
from metabench.registry.sources import Found, discover

KINDS = {
    "algorithm": ("register_algorithms", 1),
    "suite": ("register_suites", 0),
    "tracker": ("register_trackers", 1),
    "figure": ("register_figures", 1),
}


class Entry(NamedTuple):
    """One registered algorithm or suite."""

    kind: str
    name: str
    factory: Callable[..., Any]
    parameters: dict[str, Parameter]
    plugin: str
    shifts: tuple[Shift, ...] = ()
    """Of a suite: what is done to its images; see registry.compound."""
    domains: tuple[Entry, ...] = ()
    """Of two suites: that which is trained on, and that which is tested on; the factory is then the first one's."""

    @property
    def owner(self) -> str:
        """What error messages call it."""
        return f"{self.kind} '{self.name}'"

    @property
    def description(self) -> str:
        """Its docstring, but for what that says of the parameters."""
        return description_of(self.factory)

    @property
    def requires(self) -> tuple[str, str]:
        """The module that it needs besides, and the command that installs it; mostly empty."""
        module, install = getattr(self.factory, "metabench_requires", ("", ""))
        return module, install

    @property
    def missing(self) -> str:
        """See reason_missing."""
        return reason_missing(*self.requires)

    def resolve(self, given: dict[str, Any]) -> dict[str, Any]:
        """Every parameter with its value; raises UserError for what does not fit."""
        return resolve(self.owner, self.parameters, given)


class Plugin(NamedTuple):
    """One plugin that was found: where, in which version, what it provides, and what is wrong with it."""

    name: str
    source: str
    version: str
    provides: tuple[str, ...] = ()
    problem: str = ""
    file: PluginFile | None = None
    """Of one that is no installed package."""

    @property
    def module(self) -> str:
        """Of an installed one: the entry point's."""
        return self.source.split(":")[0]


class Registry(NamedTuple):
    """All that is registered. Broken plugins are listed, and named where something is missed."""

    algorithms: dict[str, Entry]
    suites: dict[str, Entry]
    plugins: tuple[Plugin, ...]
    recipes: Mapping[Key, PackageSettings] = {}
    """What `register_recipes` hooks say of algorithms."""
    trackers: Mapping[str, Entry] = {}
    figures: Mapping[str, Entry] = {}

    def settings(self, suites: tuple[str, ...], recipe: str, algorithm: str) -> dict[str, Any]:
        """See package_settings."""
        return package_settings(self.recipes, suites, recipe, algorithm)

    def of(self, kind: str) -> Mapping[str, Entry]:
        """The algorithms, the suites, the trackers or the figures."""
        entries: Mapping[str, Entry] = getattr(self, f"{kind}s")
        return entries

    def get(self, kind: str, name: str) -> Entry:
        """The entry of that name; raises UserError with the nearest one and the plugins that failed."""
        entry = self.of(kind).get(name)
        if entry is None and kind == "suite" and is_made(name):
            return compound(name, functools.partial(self.get, kind))
        if entry is None:
            raise self.unknown(kind, name, self.of(kind))
        if entry.missing:
            raise UserError(f"Cannot use {entry.owner}: {entry.missing}")
        return entry

    def unknown(self, kind: str, name: str, available: Iterable[str]) -> UserError:
        """The error for a name that nobody registers: the nearest one, and the plugins that failed."""
        return unknown_name(kind, name, available, self.broken)

    def origin(self, kind: str, name: str) -> str:
        """The distribution or file that a name comes from, with its version; empty for an unknown one."""
        if kind == "suite" and (made_of := parts(name)):
            return "; ".join(dict.fromkeys(self.origin(kind, part) for part in made_of))
        entry = self.of(kind).get(name)
        plugin = next((plugin for plugin in self.plugins if entry and plugin.name == entry.plugin), None)
        return f"{plugin.version} ({Path(plugin.source).name})".strip() if plugin else ""

    def digest(self, kind: str, name: str) -> str:
        """Of the code of an algorithm or suite as it is now, in 12 digits: see registry.code. Empty if not found."""
        if kind == "suite" and (made_of := parts(name)):
            found = [self.digest(kind, part) for part in made_of]
            return digest("\n".join(found).encode(), ()) if all(found) else ""
        entry = self.of(kind).get(name)
        plugin = next((plugin for plugin in self.plugins if entry and plugin.name == entry.plugin), None)
        if entry is None or plugin is None:
            return ""
        if plugin.file is not None:
            return digest(plugin.file.source or b"", plugin.file.modules)
        made_in = getattr(inspect.unwrap(entry.factory), "__module__", None) or ""
        own = [name for name in (plugin.module, made_in) if name.split(".")[0] == plugin.module.split(".")[0]]
        files = {module: file for module in own if (file := file_of(module))}
        read = [(module, *read_package(module, Path(file))) for module, file in sorted(files.items())]
        return digest(b"", [Module(each, "", source) for each, source, _ in read] + [m for r in read for m in r[2]])

    @property
    def files(self) -> tuple[PluginFile, ...]:
        """Of the plugins that are no installed packages, as they were read."""
        return tuple(plugin.file for plugin in self.plugins if plugin.file)

    @property
    def broken(self) -> list[Plugin]:
        """The plugins that could not be used."""
        return [plugin for plugin in self.plugins if plugin.problem]


def load_registry(files: tuple[str | PluginFile, ...] = ()) -> Registry:
    """Everything from the entry-point group `metabench`, from METABENCH_PLUGINS, and from `files`."""
    manager = pluggy.PluginManager("metabench")
    manager.add_hookspecs(hookspecs)
    registry = Registry({}, {}, ())
    for found in discover(files):
        registry = add(registry, manager, found)
    return registry


def unknown_name(kind: str, name: str, available: Iterable[str], broken: Iterable[Plugin]) -> UserError:
    """The error for a name that nobody registers: the nearest one, and the plugins that failed."""
    failed = "".join(f" Plugin '{plugin.name}' could not be loaded: {plugin.problem}." for plugin in broken)
    return UserError(unknown(kind, name, available) + failed)


def file_of(module: str) -> str:
    """The Python file of a module that was imported; empty for another."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return file if file.endswith(".py") else ""


def add(registry: Registry, manager: pluggy.PluginManager, found: Found) -> Registry:
    """The registry with one more plugin: all of its names, or none and the reason why."""
    module = None
    try:
        module = found.load()
        if manager.register(module, found.source) is None:
            raise ValueError("it is registered already")
        manager.check_pending()
        entries = read_entries(registry, module, found)
        recipes = read_settings(registered(module, "register_recipes"), registry.recipes, found.name)
        if not entries and not recipes:
            raise ValueError("it registers nothing; see register_algorithms and register_suites")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too, and whatever else a stranger raises
        if module is not None and manager.is_registered(module):
            manager.unregister(module)
        plugin = Plugin(found.name, found.source, found.version, problem=reason_of(error), file=found.file)
        return registry._replace(plugins=(*registry.plugins, plugin))
    names = tuple(entry.name for entry in entries)
    plugin = Plugin(found.name, found.source, found.version, names, file=found.file)
    known: dict[str, Any] = {
        f"{kind}s": {**registry.of(kind), **{e.name: e for e in entries if e.kind == kind}} for kind in KINDS
    }
    return registry._replace(plugins=(*registry.plugins, plugin), recipes={**registry.recipes, **recipes}, **known)


def registered(module: Any, hook: str) -> Any:
    """What a plugin's hook returns; an empty dict where it has none. Raises ValueError for one that is not marked."""
    register = getattr(module, hook, None)
    if register is None:
        return {}
    if not hasattr(register, "metabench_impl"):
        raise ValueError(f"{hook} is not marked with @hookimpl")
    return register()


def read_entries(registry: Registry, module: Any, found: Found) -> list[Entry]:
    """What one plugin registers, checked; raises ValueError with the rule that it breaks."""
    entries = []
    for kind, (hook, positional) in KINDS.items():
        factories = registered(module, hook)
        if not isinstance(factories, dict):
            raise ValueError(f"{hook} must return a dict of name -> factory, not {type(factories).__name__}")
        for name, factory in factories.items():
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ValueError(
                    f"{kind} name {name!r} must be 1 to 40 lower-case letters, digits, '-', '_' or '+', and "
                    "none that Windows reserves"
                )
            if taken := registry.of(kind).get(name):
                raise ValueError(f"{kind} '{name}' is registered already by plugin '{taken.plugin}'; rename yours")
            try:
                schema = signature_of(factory, positional)
            except (ValueError, TypeError, NameError) as error:
                raise ValueError(f"the factory of {kind} '{name}' {error}") from None
            schema = opened(with_added(schema)) if kind == "suite" else schema
            entries.append(Entry(kind, name, factory, schema, found.name))
    return entries


def reason_of(error: BaseException) -> str:
    """One line about an exception."""
    plain = isinstance(error, UserError | ValueError | pluggy.PluginValidationError | FileNotFoundError)
    return one_line(error).removeprefix(f"{type(error).__name__}: ") if plain else one_line(error)
