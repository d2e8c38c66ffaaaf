"""The same computation in other processes, under another PYTHONHASHSEED each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from metabench.engine.build import assembled
from metabench.engine.seeds import seed_everything
from metabench.errors import one_line
from metabench.registry.discovery import Registry, load_registry
from metabench.testing import repeatability_checks, suite_task_checks
from metabench.testing.cases import Case
from metabench.testing.toy_suites import TOYS

SEEDS = ("1", "2")

Digests = dict[str, str]
"""By case; an exception instead stands under "error"."""


def digests(kind: str, name: str, registry: Registry, parameters: dict[str, Any]) -> Digests:
    """Of what the plugin of that name computes here."""
    seed_everything(0)
    try:
        entry = registry.get(kind, name)
        if kind == "suite":
            suite = assembled(entry, entry.resolve(parameters))
            return {"": suite_task_checks.digest(suite_task_checks.SuiteCase(suite, name, registry))}
        factory = partial(entry.factory, **entry.resolve(parameters)) if parameters else entry.factory
        return {label: repeatability_checks.digest(Case(toy(), factory, label)) for label, toy in TOYS.items()}
    except Exception as error:
        return {"error": one_line(error)}


def digests_elsewhere(
    kind: str, names: list[str], files: list[str], parameters: dict[str, Any] | None = None
) -> list[dict[str, Digests]]:
    """By plugin, what two other processes compute; RuntimeError with the last line that one said."""
    outputs = said_elsewhere([kind, ",".join(names), json.dumps(parameters or {}), *files])
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def said_elsewhere(arguments: list[str]) -> list[str]:
    """What `main` prints of these arguments in two new processes, side by side; see digests_elsewhere."""
    command = [sys.executable, "-c", "from metabench.testing.other_processes import main; main()"]
    path = os.pathsep.join(filter(None, sys.path))
    running = [
        subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for seed in SEEDS
    ]
    ends = [process.communicate() for process in running]
    for process, (_, said) in zip(running, ends):
        if process.returncode:
            raise RuntimeError(f"another process ended with {(said.strip() or '?').splitlines()[-1]}")
    return [out for out, _ in ends]


def by_name(
    registry: Registry, kind: str, name: str, parameters: dict[str, Any]
) -> Callable[[], tuple[Digests, Digests]]:
    """What two other processes make of a registered plugin, computed once."""
    entry = registry.get(kind, name)
    source = next((plugin.source for plugin in registry.plugins if plugin.name == entry.plugin), "")
    files = [source] if Path(source).is_file() else []

    @cache
    def once() -> tuple[Digests, Digests]:
        first, second = digests_elsewhere(kind, [name], files, parameters)
        return first[name], second[name]

    return once


def main() -> None:
    """In the other process: kind, names with commas, parameters, and files of plugins that are not installed."""
    kind, names, parameters, *files = sys.argv[1:]
    torch.set_num_threads(1)
    registry = load_registry(tuple(files))
    print(json.dumps({name: digests(kind, name, registry, json.loads(parameters)) for name in names.split(",")}))
