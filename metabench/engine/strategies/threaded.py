"""The threaded strategy: one task a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor

from metabench.api import Meta, MetaGradFn, Task
from metabench.api.inner_loops import rematerialising
from metabench.api.trees import Tree, flatten, leading_axis, map_tree, stack
from metabench.engine.outer_loop import OuterLoop
from metabench.engine.strategies.base import (
    Strategy,
    Workers,
    large_convolutions,
)


class Threaded(Strategy):
    """Task after task, one task a worker thread: cheaper than vmap around convolutions on a CPU.

    Only the running tasks' graphs are in memory. With `rematerialise` the graph of an inner step is made again
    in the backward pass instead of kept.
    """

    def __init__(self, threads: int = 1, rematerialise: bool = False) -> None:
        self.workers = Workers(threads)
        self.rematerialise = rematerialise
        self.channels_last = False

    @classmethod
    def make(cls, threads: int, rematerialise: bool) -> Self:
        """See Strategy."""
        return cls(threads, rematerialise)

    @property
    def name(self) -> str:
        """See Strategy."""
        return "threaded"

    def each(self, function: Callable[..., Tree], *trees: Tree) -> Iterator[Tree]:
        """The results, one by one, in the tasks' order."""
        tasks = [map_tree(lambda leaf, i=i: leaf[i], trees) for i in range(leading_axis(trees))]

        def call(task: Tree) -> Tree:
            with rematerialising() if self.rematerialise else nullcontext():
                return function(*map_tree(channels_last, task) if self.channels_last else task)

        return self.workers.each(call, tasks)

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Strategy."""
        return stack(list(self.each(function, *trees)))

    def mean(self, direction: MetaGradFn, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Strategy."""
        laid_out = map_tree(channels_last, meta) if self.channels_last else meta
        results = self.each(lambda task: direction(laid_out, task, progress), tasks)
        total = next(results)
        for result in results:
            total = map_tree(torch.add, total, result)
        count = leading_axis(tasks)
        loss, direction_mean = map_tree(lambda leaf: leaf / count, total)
        return loss, direction_mean

    def prepare(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """Lay images and convolution weights out channels last if that is only a matter of rounding.

        torch's kernels are quicker for it on a CPU, but its BatchNorm then adds up with less care, which inner
        loops may amplify, in some tasks more than in others; and a model may ask for another layout by `view`.
        """
        if not large_convolutions(outer.meta):
            return  # little or nothing to gain by it
        self.channels_last = False
        usual = self.mean(direction, outer.meta, tasks, 0.0)
        self.channels_last = True
        try:
            other = self.mean(direction, outer.meta, tasks, 0.0)
        except RuntimeError:
            self.channels_last = False
            return
        gap, size = (norm(tree) for tree in (map_tree(torch.sub, usual, other), usual))
        self.channels_last = bool(gap <= TOLERANCE * size)


TOLERANCE = 1e-3
"""How much the direction may change with the layout, relative to its norm."""


def norm(tree: Tree) -> Tensor:
    """The Euclidean norm of all leaves together."""
    norms = torch.stack([torch.linalg.vector_norm(leaf) for leaf in flatten(tree)[0]])
    whole: Tensor = torch.linalg.vector_norm(norms)
    return whole


def is_image(leaf: Tensor) -> bool:
    """Whether a leaf is laid out like images, or a convolution's weights, on a CPU: four dimensions, floats."""
    return leaf.dim() == 4 and leaf.is_floating_point() and leaf.device.type == "cpu"


def channels_last(leaf: Tensor) -> Tensor:
    """Images (n, c, h, w) in the order n, h, w, c in memory; other leaves as they are.

    Strides are set by hand because torch leaves a tensor of one channel as it is, and then takes the whole
    network for channels first.
    """
    if not is_image(leaf):
        return leaf
    _, channels, height, width = leaf.shape
    strides = (channels * height * width, 1, width * channels, channels)
    if leaf.stride() == strides:
        return leaf
    return torch.empty_strided(leaf.shape, strides, dtype=leaf.dtype).copy_(leaf)


STRATEGY = Threaded
