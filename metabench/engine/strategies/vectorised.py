"""The vectorised strategy: `torch.vmap` over chunks of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor

from metabench.api import Meta, MetaGradFn, Task
from metabench.api.trees import Tree, concatenate, flatten, leading_axis, map_tree, slices
from metabench.engine.strategies.base import (
    Strategy,
    Workers,
    large_convolutions,
)


class Vectorised(Strategy):
    """`torch.vmap` over at most `chunk` tasks at a time: one set of kernels for all of them.

    With `threads` chunks run side by side. Their size (0: as suits the model) does not depend on the threads, and so
    the bits do not either.
    """

    def __init__(self, chunk: int = 0, threads: int = 1) -> None:
        self.chunk = chunk
        self.workers = Workers(threads)

    @classmethod
    def make(cls, threads: int, rematerialise: bool, plain_layers: bool) -> Self:
        """See Strategy."""
        return cls(threads=threads)

    def configure(self, meta: Meta, acting: bool = False) -> None:
        """See Strategy."""
        self.chunk = self.chunk or chunk_of(meta, acting)

    @property
    def name(self) -> str:
        """See Strategy."""
        return "vectorised"

    def each(self, function: Callable[..., Tree], trees: Tree) -> Iterator[Tree]:
        """The stacked results of one chunk after the other; `function` takes one task of each tree."""
        return self.workers.each(lambda piece: torch.vmap(function)(*piece), list(slices(trees, self.chunk)))

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Strategy."""
        return concatenate(list(self.each(function, trees)))

    def mean(self, direction: MetaGradFn, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Strategy."""
        chunks = self.each(lambda task: direction(meta, task, progress), (tasks,))
        sums = [map_tree(lambda leaf: leaf.sum(0), chunk) for chunk in chunks]
        count = leading_axis(tasks)
        loss, direction_mean = map_tree(lambda *parts: sum(parts) / count, *sums)
        return loss, direction_mean


def chunk_of(meta: Tree, acting: bool) -> int:
    """Tasks in a chunk of `Vectorised`: fewer where each fills a kernel, so that threads have one each.

    Ten policies, with many trajectories each, do: half of a usual meta-batch, on a CPU of two cores.
    """
    if acting and all(leaf.device.type == "cpu" for leaf in flatten(meta)[0]):
        return 10
    return 8 if large_convolutions(meta) else 64


STRATEGY = Vectorised
