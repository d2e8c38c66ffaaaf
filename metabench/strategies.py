"""How a function of one task is mapped over many: each strategy gives the same numbers, up to rounding."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from metabench.api import Meta, Task
from metabench.api.inner_loops import rematerialising
from metabench.api.trees import Tree, concatenate, flatten, leading_axis, map_tree, slices, stack
from metabench.outer import Outer

Direction = Callable[[Meta, Task, float], tuple[Tensor, Meta]]
"""The loss and the direction to step against, of one task, at a progress from 0 to 1."""


class Mapper(Protocol):
    """A strategy. Those that inherit from it say how to map; the rest is the usual way."""

    problem: str = ""
    """Why it fell back to another; mostly empty."""

    @property
    def name(self) -> str:
        """As the record has it."""
        ...

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """The results for the tasks along the leading axis of the trees, stacked in their order."""
        ...

    def mean(self, direction: Direction, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """The mean loss and direction, summed in the tasks' order."""
        ...

    def step(self, direction: Direction, outer: Outer, tasks: Task, progress: float) -> Tensor:
        """One step of the outer loop against the mean direction; the mean loss."""
        loss, mean = self.mean(direction, outer.meta, tasks, progress)
        outer.descend(mean, outer.rates(progress))
        return loss

    def settle(self, meta: Meta) -> None:
        """See what will be learnt, before anything else is asked."""
        return

    def prepare(self, direction: Direction, outer: Outer, tasks: Task) -> None:
        """Get ready for tasks of these shapes; changes nothing but the speed, and the rounding."""
        return


class Workers:
    """The threads that a trial has for whole pieces of work; with one it is the caller's own."""

    def __init__(self, threads: int = 1) -> None:
        self.pool = ThreadPoolExecutor(threads, initializer=note_thread) if threads > 1 else None

    def each(self, function: Callable[[Tree], Tree], pieces: list[Tree]) -> Iterator[Tree]:
        """The results, one by one, in the pieces' order."""
        recording = torch.is_grad_enabled()  # kept per thread by torch

        def call(piece: Tree) -> Tree:
            with torch.set_grad_enabled(recording):
                return function(piece)

        return self.pool.map(call, pieces) if self.pool and len(pieces) > 1 else map(call, pieces)


THREADS: list[Path] = []
"""Those of all Workers, as Linux lists them while they live."""


def note_thread() -> None:
    """Called in a thread that the process shall outlive."""
    THREADS.append(Path(f"/proc/self/task/{threading.get_native_id()}"))


@atexit.register  # that is after Python has joined its threads
def outlive_threads() -> None:
    """Wait, for seconds at most, until they are over for the system too.

    torch lets a thread's Python objects go only then, and where the interpreter was quicker the process aborts (exit
    code 134) with all its work done.
    """
    until = time.monotonic() + 5.0
    while any(thread.exists() for thread in THREADS) and time.monotonic() < until:
        time.sleep(0.001)


class Vectorised(Mapper):
    """`torch.vmap` over at most `chunk` tasks at a time: one set of kernels for all of them.

    With `threads` chunks run side by side. Their size (0: as suits the model) does not depend on the threads, and so
    the bits do not either.
    """

    def __init__(self, chunk: int = 0, threads: int = 1) -> None:
        self.chunk = chunk
        self.workers = Workers(threads)

    def settle(self, meta: Meta) -> None:
        """See Mapper."""
        self.chunk = self.chunk or chunk_of(meta)

    @property
    def name(self) -> str:
        """See Mapper."""
        return "vectorised"

    def each(self, function: Callable[..., Tree], trees: Tree) -> Iterator[Tree]:
        """The stacked results of one chunk after the other; `function` takes one task of each tree."""
        return self.workers.each(lambda piece: torch.vmap(function)(*piece), list(slices(trees, self.chunk)))

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        return concatenate(list(self.each(function, trees)))

    def mean(self, direction: Direction, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Mapper."""
        chunks = self.each(lambda task: direction(meta, task, progress), (tasks,))
        sums = [map_tree(lambda leaf: leaf.sum(0), chunk) for chunk in chunks]
        count = leading_axis(tasks)
        return map_tree(lambda *parts: sum(parts) / count, *sums)


class Threaded(Mapper):
    """Task after task, one task a worker thread: cheaper than vmap around convolutions on a CPU.

    Only the running tasks' graphs are in memory. With `rematerialise` the graph of an inner step is made again
    in the backward pass instead of kept.
    """

    def __init__(self, threads: int = 1, rematerialise: bool = False) -> None:
        self.workers = Workers(threads)
        self.rematerialise = rematerialise
        self.channels_last = False

    @property
    def name(self) -> str:
        """See Mapper."""
        return "threaded"

    def each(self, function: Callable[..., Tree], *trees: Tree) -> Iterator[Tree]:
        """The results, one by one, in the tasks' order."""
        tasks = [map_tree(lambda leaf, i=i: leaf[i], trees) for i in range(leading_axis(trees))]

        def call(task: Tree) -> Tree:
            with rematerialising() if self.rematerialise else nullcontext():
                return function(*map_tree(channels_last, task) if self.channels_last else task)

        return self.workers.each(call, tasks)

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        return stack(list(self.each(function, *trees)))

    def mean(self, direction: Direction, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Mapper."""
        laid_out = map_tree(channels_last, meta) if self.channels_last else meta
        results = self.each(lambda task: direction(laid_out, task, progress), tasks)
        total = next(results)
        for result in results:
            total = map_tree(torch.add, total, result)
        count = leading_axis(tasks)
        return map_tree(lambda leaf: leaf / count, total)

    def prepare(self, direction: Direction, outer: Outer, tasks: Task) -> None:
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
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(leaf) for leaf in flatten(tree)[0]]))


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


LARGE_CONVOLUTION = 32 * 32 * 3 * 3
"""Weights of one convolution from which its kernels, on a CPU, have more to do for a few tasks than to begin."""


def large_convolutions(meta: Tree) -> bool:
    """Whether the meta-parameters have a large convolution, on a CPU."""
    leaves = flatten(meta)[0]
    return any(leaf.dim() >= 4 and leaf.numel() >= LARGE_CONVOLUTION and leaf.device.type == "cpu" for leaf in leaves)


def by_rule(meta: Tree) -> str:
    """The strategy that is likely the quickest, without a measurement.

    Weights of a task's own turn its convolutions into grouped ones, which on a CPU cost about half of the loop
    for 16 filters and no less than it for 32 and 64.
    """
    return "threaded" if large_convolutions(meta) else "vectorised"


def chunk_of(meta: Tree) -> int:
    """Tasks in a chunk of `Vectorised`: fewer where each fills a kernel, so that threads have one each."""
    return 8 if large_convolutions(meta) else 64
