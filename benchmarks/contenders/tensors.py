"""What the contenders on torch share: the workload's tasks, module and loss as torch has them."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import workloads
from benchmarks.workloads import Arrays, Workload

SLOW = 1.0
"""Seconds of an update from which setting up threads is nothing beside it."""
OUTER_LR = 1e-3
"""Adam's step size in every meta-update."""


class OnTorch:
    """A contender on torch. It keeps the number of torch's threads with which its update is quicker."""

    threads: int

    def update(self) -> None:
        """See Contender."""
        raise NotImplementedError

    def settle(self) -> int:
        """All threads or one, whichever is quicker by the best of two updates each (of one, if slow); that number."""
        best = dict.fromkeys((self.threads, 1), float("inf"))
        for number, threads in enumerate(2 * list(best)):
            if number >= len(best) and min(best.values()) > SLOW:
                break
            torch.set_num_threads(threads)
            if min(best.values()) < SLOW or number == 0:
                self.update()  # the first after a change may set threads up
            began = time.perf_counter()
            self.update()
            best[threads] = min(best[threads], time.perf_counter() - began)
        self.threads = min(best, key=lambda threads: best[threads])
        torch.set_num_threads(self.threads)
        return self.threads


class Tasks:
    """A workload's tasks: `support_x` (tasks, s, ...), `support_y`, `query_x`, `query_y`."""

    def __init__(self, arrays: Arrays, dtype: torch.dtype = torch.float32) -> None:
        self.support_x, self.support_y, self.query_x, self.query_y = (
            tensor(arrays[name], dtype) for name in ("support_x", "support_y", "query_x", "query_y")
        )

    def __len__(self) -> int:
        return len(self.support_x)

    def each(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Task by task: support x and y, query x and y."""
        return list(zip(self.support_x, self.support_y, self.query_x, self.query_y))


def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy as a tensor: floating point in `dtype`, class indices as they are."""
    made = torch.from_numpy(array.copy())
    return made.to(dtype) if made.is_floating_point() else made


def module(workload: Workload, arrays: Arrays, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The workload's network with its initial weights."""
    made = workloads.network(workload).to(dtype)
    put(made, arrays)
    return made


@torch.no_grad()
def put(network: nn.Module, arrays: Arrays) -> None:
    """Give a network the initial weights again."""
    initial = workloads.weights_of(arrays)
    for name, weight in network.named_parameters():
        weight.copy_(torch.from_numpy(initial[name]))


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy for class indices, mean squared error for real targets."""
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets)
    return F.cross_entropy(outputs, targets)


def outer(workload: Workload, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The outer optimiser: Adam, or for Reptile the step all the way."""
    if workload.algorithm == "reptile":
        return torch.optim.SGD(parameters, lr=1.0)
    return torch.optim.Adam(parameters, lr=OUTER_LR)


def gradients(network: nn.Module) -> dict[str, np.ndarray]:
    """Copies of what the backward passes left behind."""
    return {name: weight.grad.numpy().copy() for name, weight in network.named_parameters()}
