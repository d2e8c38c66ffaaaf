"""Where plugins come from: entry points, METABENCH_PLUGINS and files. None is imported here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


class Found(NamedTuple):
    """A plugin before it is imported."""

    name: str
    source: str
    version: str
    load: Callable[[], Any]


def discover(files: tuple[str, ...]) -> Iterator[Found]:
    """The plugins there are, in a fixed order, installed ones first."""
    for point in sorted(importlib.metadata.entry_points(group="metabench"), key=lambda p: (p.name, p.value)):
        version = f"{point.dist.name} {point.dist.version}" if point.dist else ""
        yield Found(point.name, point.value, version, point.load)
    listed = os.environ.get("METABENCH_PLUGINS", "").split(os.pathsep)
    for file in dict.fromkeys(os.path.realpath(name) for name in (*listed, *files) if name):
        path = Path(file)
        yield Found(path.stem, file, f"sha256 {digest_of(path)}", partial(import_file, path))


def digest_of(path: Path) -> str:
    """Of a file, in 12 digits; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
    except OSError:
        return ""


def import_file(path: Path) -> Any:
    """The module in a file, under a name of its own."""
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    name = f"metabench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
