"""What the tests of malformed inputs share: how many are tried, results to damage, and plugin files to spoil."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

from metabench.records import store
from metabench.records.provenance import Provenance
from metabench.records.trials import Trial
from tests.builders import outcome
from tests.cli_helpers import refused

GIVEN = {"algos": ["maml", "scratch"], "suites": ["sinusoid"], "seeds": 2, "test_tasks": 6, "test_steps": 1}
"""Options of four trials."""

SAME = ("--algos=maml,scratch", "--suites=sinusoid", "--seeds=2", "--test-tasks=6", "--test-steps=1")
"""The same on the command line."""


def tries(number: int) -> settings:
    """So many examples, however slow they are."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(max_examples=number, suppress_health_check=quiet)


def brief(value: object) -> str:
    """The name of a case."""
    return repr(value)[:24]


def finished(root: Path, trials: tuple[Trial, ...]) -> None:
    """Made-up records of the trials."""
    for trial in trials:
        cells = [[0.1 * i + 0.01 * trial.seed for i in range(6)] for _ in range(2)]
        store.write(root, outcome(trial, {"transductive": cells}, "mse", provenance=Provenance(notice="é")))


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


HEAD = """
import torch
from torch import nn
from metabench.api import Algorithm, Batch, InnerLoop, Recipe, Suite, Task, hookimpl
"""

ALGORITHM = (
    HEAD
    + """
def mine(problem, *, {parameter}):
    "An algorithm."
    inner = InnerLoop(lambda m, s: m, lambda m, f, s, i: f, lambda m, f, x: problem.apply(f, x))
    return Algorithm(problem.init, inner)

@hookimpl
def register_algorithms():
    return {{ {name}: mine }}
"""
)


def with_plugin(folder: Path, text: str, *words: str, also: tuple[int, ...] = ()) -> str:
    """What is said about a plugin file."""
    (folder / "plug.py").write_text(text, encoding="utf-8")
    return refused(folder, "run", "--dry-run", "--plugin", "plug.py", *words, also=also)
