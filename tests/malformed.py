"""What the tests of malformed inputs share: how many are tried, results to damage, and plugin files to spoil."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

from metabench.records import store
from metabench.records.provenance import Provenance
from metabench.records.record import Outcome, Record, TestScore
from metabench.records.trials import Trial
from tests.cli_helpers import refused

GIVEN = {"algos": ["maml", "scratch"], "suites": ["sinusoid"], "seeds": 2, "test_tasks": 6, "test_steps": 1}
"""Options of four trials."""

SAME = ("--algos=maml,scratch", "--suites=sinusoid", "--seeds=2", "--test-tasks=6", "--test-steps=1")
"""The same on the command line."""


def tries(number: int) -> settings:
    """So many examples, the same ones in every run."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(max_examples=number, derandomize=True, database=None, suppress_health_check=quiet)


def brief(value: object) -> str:
    """The name of a case."""
    return repr(value)[:24]


def finished(root: Path, trials: tuple[Trial, ...]) -> None:
    """Made-up records of the trials."""
    for trial in trials:
        test = TestScore(transductive=False, score=0.5, ci95=0.1, adaptation={"mse": [0.7, 0.5]})
        record = Record(
            trial=trial, status="ok", metric="mse", tests={"transductive": test}, provenance=Provenance(notice="é")
        )
        cells = [[0.1 * i + 0.01 * trial.seed for i in range(6)] for _ in range(2)]
        store.write(root, Outcome(record, {"transductive": {"mse": cells}}))


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


HEAD = """
import torch
from torch import nn
from metabench.api import Algorithm, Batch, Recipe, Suite, Task, hookimpl
"""

ALGORITHM = (
    HEAD
    + """
def mine(problem, *, {parameter}):
    "An algorithm."
    return Algorithm(problem.init, lambda m, s: m, lambda m, f, s, i: f, lambda m, f, x: problem.apply(f, x))

@hookimpl
def register_algorithms():
    return {{ {name}: mine }}
"""
)


def with_plugin(folder: Path, text: str, *words: str, also: tuple[int, ...] = ()) -> str:
    """What is said about a plugin file."""
    (folder / "plug.py").write_text(text)
    return refused(folder, "run", "--dry-run", "--plugin", "plug.py", *words, also=also)
