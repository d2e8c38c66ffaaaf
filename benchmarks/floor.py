"""A lower bound that knows no library: counted floating-point operations over the measured rate of sgemm."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders.handwritten import Loop
from benchmarks.workloads import WEIGHT, Arrays, Workload


def flops(workload: Workload, arrays: Arrays) -> float:
    """Of one meta-update: matrix products and convolutions of the hand-written loop, counted on one task.

    The outer optimiser, normalisation and activations are not counted.
    """
    first = {name: each if name.startswith(WEIGHT) else each[:1] for name, each in arrays.items()}
    loop = Loop(workload._replace(tasks=1), first, torch.get_num_threads())
    with FlopCounterMode(display=False) as counter:
        loop.fill()
    return float(counter.get_total_flops()) * workload.tasks


def sgemm_rate(threads: int, size: int = 2048, repeats: int = 7) -> float:
    """Floating-point operations a second of a float32 matrix product on all threads: the median."""
    torch.set_num_threads(threads)
    left, right = torch.rand(size, size), torch.rand(size, size)
    torch.mm(left, right)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds)
