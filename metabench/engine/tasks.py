"""Which tasks a trial meets: by the names of random streams alone, so that others meet the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from metabench.api import Suite, Task
from metabench.api.contract import SampleFn
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
    generator = random_generator(run.trial.seed, run.trial.stream("train"), "train", update)
    device = run.execution.device
    tasks = sampler_on(suite, device)("train", run.trial.budget.meta_batch_size, generator)
    return to_device_dtype(tasks, device, run.dtype)


def sampler_on(suite: Suite, device: str) -> SampleFn:
    """The suite's sampler, with its data on the device where it can have them there: the same tasks."""
    on: Callable[[str], SampleFn] | None = getattr(suite.sample, "on", None)
    return suite.sample if on is None or device == "cpu" else on(device)


class TaskBlocks(Sequence[Task]):
    """Blocks of tasks, each drawn whenever it is asked for: however many there are, one at a time is in memory."""

    def __init__(self, draw: Callable[[int], Task], blocks: int) -> None:
        self.draw = draw
        self.blocks = blocks

    def __len__(self) -> int:
        return self.blocks

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self.blocks:
            raise IndexError(number)
        return self.draw(number)


def common_tasks(run: TrialRun, suite: Suite, split: str, count: int) -> TaskBlocks:
    """The validation or test tasks of a trial, in blocks."""
    return task_blocks(suite, run.trial.stream(split), split, count, run.execution.device, run.dtype)


def task_blocks(
    suite: Suite, name: str, split: str, count: int, device: str, dtype: torch.dtype = torch.float32
) -> TaskBlocks:
    """The first `count` tasks of a split, in blocks: the same for every trial of the suite at every seed.

    Support and query have memory of their own: behind a view of the support labels the query's could be read.
    """

    def draw(block: int) -> Task:
        tasks = sampler_on(suite, device)(split, BLOCK, random_generator(name, split, block))
        kept = min(BLOCK, count - block * BLOCK)
        return to_device_dtype(map_tree(lambda leaf: leaf[:kept].clone(), tasks), device, dtype)

    return TaskBlocks(draw, -(-count // BLOCK))
