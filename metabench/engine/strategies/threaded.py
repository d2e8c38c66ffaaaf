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
from metabench.engine.blocks.build import Blocks, NoBlocksError, load_blocks
from metabench.engine.blocks.fuse import is_kernel, running, weights_dtype
from metabench.engine.outer_loop import OuterLoop
from metabench.engine.strategies.base import (
    Strategy,
    Workers,
    large_convolutions,
)
from metabench.errors import one_line

Layout = Callable[[Tensor], Tensor]


class Threaded(Strategy):
    """Task after task, one task a worker thread: cheaper than vmap around convolutions on a CPU.

    Only the running tasks' graphs are in memory. With `rematerialise` the graph of an inner step is made again
    in the backward pass instead of kept. Where a model has layers that blocks can take, blocks run them, but with
    `plain_layers`.
    """

    def __init__(self, threads: int = 1, rematerialise: bool = False, plain_layers: bool = False) -> None:
        self.workers = Workers(threads)
        self.rematerialise, self.plain_layers = rematerialise, plain_layers
        self.blocks: Blocks | None = None
        self.layout: Layout = as_it_is
        self.layers = ""

    @classmethod
    def make(cls, threads: int, rematerialise: bool, plain_layers: bool) -> Self:
        """See Strategy."""
        return cls(threads, rematerialise, plain_layers)

    @property
    def name(self) -> str:
        """See Strategy."""
        return "threaded"

    def configure(self, meta: Meta, acting: bool = False) -> None:
        """See Strategy: the blocks' library is made ready where there is use for it."""
        dtype = weights_dtype(meta)
        if dtype is None:
            return
        try:
            if self.plain_layers:
                raise NoBlocksError("asked for")
            self.blocks = load_blocks(dtype)
            self.layers = f"blocks {self.blocks.key}"
        except NoBlocksError as error:
            self.without_blocks(str(error))

    def without_blocks(self, reason: str) -> None:
        """Let a model's own layers run."""
        self.blocks, self.layout, self.layers = None, as_it_is, f"plain layers: {reason[:200]}"

    def each(self, function: Callable[..., Tree], *trees: Tree) -> Iterator[Tree]:
        """The results, one by one, in the tasks' order."""
        tasks = [map_tree(lambda leaf, i=i: leaf[i], trees) for i in range(leading_axis(trees))]

        return self.workers.each(lambda task: self.one(function, *task), tasks)

    def one(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Strategy: in the layout of the kernels that run, by blocks where there are any."""
        with rematerialising() if self.rematerialise else nullcontext(), running(self.blocks):
            return function(*(map_tree(self.layout, tree) for tree in trees))

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Strategy. One task's result keeps its layout, since it is not copied."""
        return stack(list(self.each(function, *trees)))

    def mean(self, direction: MetaGradFn, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Strategy."""
        laid_out = map_tree(self.layout, meta)
        results = self.each(lambda task: direction(laid_out, task, progress), tasks)
        total = next(results)
        add: Callable[..., Tensor] = torch.add  # a sum of its own: the first result may be the direction's tensor
        for result in results:
            total, add = map_tree(add, total, result), torch.Tensor.add_
        count = leading_axis(tasks)
        loss, direction_mean = map_tree(lambda leaf: leaf / count, total)
        return loss, direction_mean

    def prepare(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """Lay images and weights out as the kernels that will run want them."""
        if self.blocks and self.prepare_blocks(
            self.blocks, direction, outer.meta, map_tree(lambda leaf: leaf[:1], tasks)
        ):
            return
        if large_convolutions(outer.meta):
            self.prepare_layers(direction, outer.meta, tasks)

    def prepare_blocks(self, blocks: Blocks, direction: MetaGradFn, meta: Meta, task: Task) -> bool:
        """Whether blocks run, which one task shows; a model may ask for another layout by `view`."""
        blocks.used = False
        failure = "the model has no run of them that is a block"
        for self.layout in (for_blocks, as_it_is):
            try:
                self.mean(direction, meta, task, 0.0)
            except RuntimeError as error:  # third derivatives are another reason
                failure = one_line(error)
                continue
            if blocks.used:
                return True
        self.without_blocks(failure)
        return False

    def prepare_layers(self, direction: MetaGradFn, meta: Meta, tasks: Task) -> None:
        """Lay images and convolution weights out channels last if that is only a matter of rounding.

        torch's kernels are quicker for it on a CPU, but its BatchNorm then adds up with less care, which inner
        loops may amplify, in some tasks more than in others.
        """
        usual = self.mean(direction, meta, tasks, 0.0)
        self.layout = channels_last
        try:
            other = self.mean(direction, meta, tasks, 0.0)
        except RuntimeError:
            self.layout = as_it_is
            return
        gap, size = (norm(tree) for tree in (map_tree(torch.sub, usual, other), usual))
        if not gap <= TOLERANCE * size:
            self.layout = as_it_is


TOLERANCE = 1e-3
"""How much the direction may change with the layout, relative to its norm."""


def norm(tree: Tree) -> Tensor:
    """The Euclidean norm of all leaves together."""
    norms = torch.stack([torch.linalg.vector_norm(leaf) for leaf in flatten(tree)[0]])
    whole: Tensor = torch.linalg.vector_norm(norms)
    return whole


def as_it_is(leaf: Tensor) -> Tensor:
    """The leaf."""
    return leaf


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
    return laid_out(leaf, (channels * height * width, 1, width * channels, channels))


def for_blocks(leaf: Tensor) -> Tensor:
    """Weights (o, i, k, k) in the order k, k, i, o in memory, images channels last, other leaves as they are."""
    if not is_kernel(leaf):
        return channels_last(leaf)
    out, into, _, width = leaf.shape
    return laid_out(leaf, (1, out, width * into * out, into * out))


def laid_out(leaf: Tensor, strides: tuple[int, ...]) -> Tensor:
    """The leaf with these strides; itself if it has them."""
    return (
        leaf if leaf.stride() == strides else torch.empty_strided(leaf.shape, strides, dtype=leaf.dtype).copy_(leaf)
    )


STRATEGY = Threaded
