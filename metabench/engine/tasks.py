"""Which tasks a trial meets: by the names of random streams alone, so that others meet the same."""

from __future__ import annotations

from metabench.api import Suite, Task
from metabench.api.trees import map_tree
from metabench.engine.problem import to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.engine.state import TrialRun

BLOCK = 50
"""Tasks that are drawn from one random stream, and adapted together."""


def training_tasks(run: TrialRun, suite: Suite, update: int) -> Task:
    """The tasks of an update, by its number alone: looking at them early changes nothing.

    They are the same for every algorithm at this seed.
    """
    generator = random_generator(run.trial.seed, run.trial.suite, "train", update)
    return to_device_dtype(
        suite.sample("train", run.trial.budget.meta_batch_size, generator), run.execution.device, run.dtype
    )


def common_tasks(run: TrialRun, suite: Suite, split: str, count: int) -> list[Task]:
    """The validation or test tasks of a trial, in blocks."""
    blocks = task_blocks(suite, run.trial.suite, split, count, run.execution.device)
    return [to_device_dtype(block, run.execution.device, run.dtype) for block in blocks]


def task_blocks(suite: Suite, name: str, split: str, count: int, device: str) -> list[Task]:
    """The first `count` tasks of a split, in blocks: the same for every trial of the suite at every seed.

    Support and query have memory of their own: behind a view of the support labels the query's could be read.
    """
    blocks = []
    for first in range(0, count, BLOCK):
        tasks = suite.sample(split, BLOCK, random_generator(name, split, first // BLOCK))
        kept = min(BLOCK, count - first)
        blocks.append(to_device_dtype(map_tree(lambda leaf, kept=kept: leaf[:kept].clone(), tasks), device))
    return blocks
