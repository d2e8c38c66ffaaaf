"""How a function of one task is mapped over many: each strategy gives the same numbers, up to rounding."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from metabench.api import Meta, MetaGradFn, Task
from metabench.api.trees import Tree, flatten
from metabench.engine.blocks.fuse import weights_dtype
from metabench.engine.outer_loop import OuterLoop


class Strategy(Protocol):
    """A strategy. Those that inherit from it say how to map; the rest is the usual way."""

    costly: ClassVar[bool] = False
    """Whether to get ready takes so long that `auto` tries the others first, and then asks `not_worth`."""
    device: ClassVar[str] = ""
    """The kind of device that it is made for; empty for any."""
    problem: str = ""
    """Reason for a fallback to another one, or an empty string."""
    layers: str = ""
    """What runs a model's convolutions, and why, where it is not settled by the strategy's name."""

    @classmethod
    def make(cls, threads: int, rematerialise: bool, plain_layers: bool) -> Self:
        """A strategy for a trial with so many threads; the switches as Execution has them."""
        return cls()

    @property
    def name(self) -> str:
        """As the record has it."""
        ...

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """The results for the tasks along the leading axis of the trees, stacked in their order."""
        ...

    def one(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """The result for one task, its trees without an axis of tasks."""
        return function(*trees)

    def mean(self, direction: MetaGradFn, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """The mean loss and direction, summed in the tasks' order."""
        ...

    def step(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task, progress: float) -> Tensor:
        """One step of the outer loop against the mean direction; the mean loss."""
        loss, mean = self.mean(direction, outer.meta, tasks, progress)
        outer.step(mean, outer.rates(progress))
        return loss

    def configure(self, meta: Meta, acting: bool = False) -> None:
        """Called once with the initial meta-parameters, and whether tasks are rolled out by policies."""
        return

    def prepare(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """Get ready for tasks of these shapes; changes nothing but the speed, and the rounding."""
        return

    def not_worth(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task, best: float, updates: int) -> str:
        """Why getting ready costs more than it can save over so many updates, the best so far taking `best` seconds
        each; an empty string where it may pay."""
        return ""


class Workers:
    """The threads that a trial has for whole pieces of work; with one it is the caller's own."""

    def __init__(self, threads: int = 1) -> None:
        self.pool = ThreadPoolExecutor(threads, initializer=begin_thread) if threads > 1 else None

    def each(self, function: Callable[[Tree], Tree], pieces: list[Tree]) -> Iterator[Tree]:
        """The results, one by one, in the pieces' order."""
        recording = torch.is_grad_enabled()  # kept per thread by torch

        def call(piece: Tree) -> Tree:
            with torch.set_grad_enabled(recording):
                return function(piece)

        return self.pool.map(call, pieces) if self.pool and len(pieces) > 1 else map(call, pieces)


THREADS: list[Path] = []
"""Those of all Workers, as Linux lists them while they live."""


def begin_thread() -> None:
    """Register a worker thread and give MKL torch's number of threads, called in it.

    torch does the latter when a thread first asks for the number. Before that a matrix product there takes all cores,
    beside those of the other threads, and its bits depend on how many there are.
    """
    THREADS.append(Path(f"/proc/self/task/{threading.get_native_id()}"))
    torch.set_num_threads(torch.get_num_threads())


@atexit.register  # that is after Python has joined its threads
def outlive_threads() -> None:
    """Wait for seconds at most for the operating system's threads to exit.

    torch lets a thread's Python objects go only then, and where the interpreter was quicker the process aborts (exit
    code 134) with all its work done.
    """
    until = time.monotonic() + 5.0
    while any(thread.exists() for thread in THREADS) and time.monotonic() < until:
        time.sleep(0.001)


LARGE_CONVOLUTION = 32 * 32 * 3 * 3
"""Weights of one convolution from which its kernels, on a CPU, have more to do for a few tasks than to begin."""


def large_convolutions(meta: Tree) -> bool:
    """Whether the meta-parameters have a large convolution, on a CPU."""
    leaves = flatten(meta)[0]
    return any(leaf.dim() >= 4 and leaf.numel() >= LARGE_CONVOLUTION and leaf.device.type == "cpu" for leaf in leaves)


def by_rule(meta: Tree, plain_layers: bool = False) -> str:
    """The strategy that is likely the quickest, without a measurement.

    Weights of a task's own turn its convolutions into grouped ones, which on a CPU cost about half of the loop
    for 16 filters and no less than it for 32 and 64. With blocks the loop is the quicker one for 16 too. A CUDA
    device would wait for Python otherwise.
    """
    if any(leaf.device.type == "cuda" for leaf in flatten(meta)[0]):
        return "captured"
    blocks = not plain_layers and weights_dtype(meta) is not None
    return "threaded" if blocks or large_convolutions(meta) else "vectorised"
