"""Figures that plugins register. A plugin that has none is not imported for it: a report needs no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pluggy

from metabench.registry import hookspecs
from metabench.registry.discovery import Entry, Registry, add
from metabench.registry.sources import Found, discover

HOOK = b"register_figures"


def registered_figures() -> dict[str, Entry]:
    """Every figure by its name, of plugins whose source speaks of the hook; those that are broken have none."""
    manager = pluggy.PluginManager("metabench")
    manager.add_hookspecs(hookspecs)
    registry = Registry({}, {}, ())
    for found in discover(()):
        if HOOK in source(found):
            registry = add(registry, manager, found)
    return dict(registry.figures)


def source(found: Found) -> bytes:
    """Of the plugin's module; empty where it has none that can be read. Only its top package is imported: no more."""
    if found.file:
        return found.file.source or b""
    top, *below = found.source.partition(":")[0].split(".")
    try:
        spec = find_spec(top)
        if spec is None:
            return b""
        if not below:
            return Path(spec.origin or "").read_bytes()
        path = Path((spec.submodule_search_locations or [""])[0], *below)
        return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_bytes()
    except (ImportError, ValueError, OSError):
        return b""
