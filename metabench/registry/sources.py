"""Where plugins come from: entry points, METABENCH_PLUGINS and files. None is imported here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from metabench.records.plugin_files import Module, PluginFile
from metabench.registry.code import read_plugin


class Found(NamedTuple):
    """A plugin before it is imported."""

    name: str
    source: str
    version: str
    load: Callable[[], Any]
    file: PluginFile | None = None
    """Of one that is no installed package."""


def discover(files: Iterable[str | PluginFile]) -> Iterator[Found]:
    """The plugins there are, in a fixed order, installed ones first."""
    versions: dict[int, str] = {}  # a package's metadata are parsed anew whenever they are asked for
    for point in sorted(importlib.metadata.entry_points(group="metabench"), key=lambda p: (p.name, p.value)):
        if point.dist and id(point.dist) not in versions:
            versions[id(point.dist)] = f"{point.dist.name} {point.dist.version}"
        yield Found(point.name, point.value, versions.get(id(point.dist), ""), point.load)
    for file in read_files(files):
        content = hashlib.sha256(file.source).hexdigest()[:12] if file.source is not None else ""
        yield Found(Path(file.path).stem, file.path, f"sha256 {content}", partial(import_file, file), file)


def read_files(files: Iterable[str | PluginFile]) -> tuple[PluginFile, ...]:
    """Those of METABENCH_PLUGINS, and these, each once. What was read before stays as it was then."""
    read = {file.path: file for file in files if isinstance(file, PluginFile)}
    listed = os.environ.get("METABENCH_PLUGINS", "").split(os.pathsep)
    paths = (file.path if isinstance(file, PluginFile) else os.path.realpath(file) for file in files if file)
    return tuple(
        read.get(path) or read_plugin(Path(path))
        for path in dict.fromkeys([*(os.path.realpath(name) for name in listed if name), *paths])
    )


def import_file(file: PluginFile) -> Any:
    """The module in a plugin file, under a name of its own; what it imports of its folder is as it was read."""
    if file.source is None:
        raise FileNotFoundError("there is no such file")
    BESIDE.offer(file.modules)
    path = Path(file.path)
    if path.suffix != ".py":
        raise ImportError("it is not a Python file")
    name = f"metabench_plugin_{path.stem}_{hashlib.sha256(file.path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceLoader(file.path, file.source))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SourceLoader(Loader):
    """Runs a source that was read before, whatever lies on disk by now."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source

    def exec_module(self, module: ModuleType) -> None:
        """See importlib."""
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec", dont_inherit=True), module.__dict__)


class ModulesBeside(MetaPathFinder):
    """Finds the modules that plugin files import of their folders: as they were read, wherever that was."""

    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}

    def offer(self, modules: Iterable[Module]) -> None:
        """Find these from now on, but for names that Python finds elsewhere."""
        for module in modules:
            top = module.name.split(".")[0]
            if top not in self.modules and (top in sys.builtin_module_names or is_elsewhere(top, module.path)):
                continue
            if isinstance(getattr(sys.modules.get(module.name), "__loader__", None), SourceLoader):
                del sys.modules[module.name]  # of an earlier call in this process, and older by now
            self.modules[module.name] = module
        if self.modules and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See importlib."""
        module = self.modules.get(name)
        if module is None:
            return None
        folder = [str(Path(module.path).parent)] if module.is_package else None
        loader = SourceLoader(module.path, module.source)
        return importlib.util.spec_from_file_location(
            name, module.path, loader=loader, submodule_search_locations=folder
        )


BESIDE = ModulesBeside()


def is_elsewhere(name: str, path: str) -> bool:
    """Whether Python finds a module of that name in another place than in, or below, the folder of a file."""
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None:
        return False
    folder = os.path.dirname(os.path.realpath(spec.origin))
    return not os.path.realpath(path).startswith(folder + os.sep)
