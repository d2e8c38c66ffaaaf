"""The same computation in other processes, under another PYTHONHASHSEED each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from metabench.registry import Registry, load_registry
from metabench.streams import seed_everything
from metabench.testing import suites, training
from metabench.testing.cases import Case
from metabench.testing.toys import TOYS

SEEDS = ("1", "2")


def digests(kind: str, name: str, registry: Registry) -> dict[str, str]:
    """By case, of what the plugin of that name computes here."""
    torch.set_num_threads(1)
    seed_everything(0)
    if kind == "suite":
        return {"": suites.digest(suites.SuiteCase(registry.suites[name].factory(), name, registry))}
    factory = registry.algorithms[name].factory
    return {label: training.digest(Case(suite(), factory, label)) for label, suite in TOYS.items()}


def digests_elsewhere(kind: str, name: str, file: str) -> tuple[dict[str, str], dict[str, str]]:
    """What two other processes compute, side by side; raises RuntimeError with the last line that one said."""
    command = [sys.executable, "-c", "from metabench.testing.elsewhere import main; main()", kind, name, file]
    path = os.pathsep.join(filter(None, sys.path))
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    ends = [process.communicate() for process in running]
    for process, (_, said) in zip(running, ends):
        if process.returncode:
            raise RuntimeError(f"another process ended with {(said.strip() or '?').splitlines()[-1]}")
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in ends)
    return first, second


def by_name(registry: Registry, kind: str, name: str) -> Callable[[], tuple[dict[str, str], dict[str, str]]]:
    """`digests_elsewhere` of a registered plugin, computed once."""
    entry = registry.get(kind, name)
    source = next((plugin.source for plugin in registry.plugins if plugin.name == entry.plugin), "")
    found: list[tuple[dict[str, str], dict[str, str]]] = []

    def once() -> tuple[dict[str, str], dict[str, str]]:
        if not found:
            found.append(digests_elsewhere(kind, name, source if Path(source).is_file() else ""))
        return found[0]

    return once


def main() -> None:
    """In the other process: kind, name, and the plugin's file, if it is one."""
    kind, name, file = sys.argv[1:]
    print(json.dumps(digests(kind, name, load_registry((file,) if file else ()))))
