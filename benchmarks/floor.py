"""Lower bounds that know no library: what must be computed, and what must be read and written, at measured rates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders.handwritten import Loop
from benchmarks.workloads import WEIGHT, Arrays, Workload

PRODUCTS = ("convolution", "convolution_backward", "mm", "addmm", "bmm")
"""The operations that are counted: matrix products and convolutions, with their derivatives."""


class Work(NamedTuple):
    """What one meta-update has to do at least, as the hand-written loop does it."""

    flops: float
    """Floating-point operations of products."""
    bytes: float
    """Of what goes into products and comes out of them, each once; nothing of what lies between them."""


class Rates(NamedTuple):
    """What this machine does a second on so many threads."""

    flops: float
    """Of a float32 matrix product."""
    bytes: float
    """Read and written by a copy that no cache holds."""

    def seconds(self, work: Work) -> tuple[float, float]:
        """The arithmetic floor and the memory floor."""
        return work.flops / self.flops, work.bytes / self.bytes


class ByteCounter(TorchDispatchMode):
    """Adds up the bytes of the tensors of products."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.__name__.partition(".")[0] in PRODUCTS:
            self.total += sum(each.nbytes for each in tree_leaves((args, out)) if isinstance(each, Tensor))
        return out


def work(workload: Workload, arrays: Arrays) -> Work:
    """Counted on one task. The outer optimiser, normalisation and activations are not counted."""
    first = {name: each if name.startswith(WEIGHT) else each[:1] for name, each in arrays.items()}
    loop = Loop(workload._replace(tasks=1), first, threads=1)
    with FlopCounterMode(display=False) as counter:
        loop.fill()
    with ByteCounter() as moved:
        loop.fill()
    return Work(float(counter.get_total_flops()) * workload.tasks, float(moved.total) * workload.tasks)


def rates(threads: int, size: int = 2048) -> Rates:
    """Of this machine, on so many threads."""
    torch.set_num_threads(threads)
    left, right = torch.rand(size, size), torch.rand(size, size)
    source, target = torch.rand(1 << 26), torch.empty(1 << 26)
    copied = 2 * source.nbytes / median_seconds(lambda: target.copy_(source))
    return Rates(2 * size**3 / median_seconds(lambda: torch.mm(left, right)), copied)


def median_seconds(call: Callable[[], Any], repeats: int = 7) -> float:
    """How long a call takes, after one that is not timed."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
