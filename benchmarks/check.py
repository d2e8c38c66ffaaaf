"""Whether a contender's direction is the right one: float64 finite differences, before anything is timed.

MAML: central differences of the mean query loss as a function of the initial weights, through the inner steps.
FOMAML: central differences of the mean query loss, each task's adapted weights held fixed and all moved together.
Reptile has no objective: its direction itself, unrolled in float64.
All along five random directions; a contender's float32 direction is projected on them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.contenders import tensors
from benchmarks.workloads import Arrays, Workload, weights_of

Weights = dict[str, Tensor]

DIRECTIONS = 5
LEAST = 3
"""Directions that must be left for a verdict."""
STEPS = (1e-7, 1e-8)
"""Norms of the step along a direction: so small that hardly a ReLU or a maximum switches, and loss differences of
about 1e-10 still have six digits in float64."""
AGREE = 1e-3
"""How closely the two step sizes must agree, in units of the slopes' median size."""
TOLERANCE = 1e-2
"""How far a float32 projection may be off, in units of the projections' root mean square. Rounding switches a few
ReLUs, and later inner steps multiply what that changes: plain PyTorch's gradients were off by 1e-7 to 3e-3 on these
workloads, first-order ones in place of MAML's by 0.15 and more."""


class Reference(NamedTuple):
    """Directions (kept, weights) and the right projections (kept,) of the mean direction over the tasks."""

    directions: np.ndarray
    projections: np.ndarray


def reference(workload: Workload, arrays: Arrays, threads: int = 1) -> Reference:
    """The projections that a contender must have. Directions whose step sizes disagree are left out."""
    initial = {name: tensors.tensor(each, torch.float64) for name, each in weights_of(arrays).items()}
    size = sum(each.numel() for each in initial.values())
    directions = np.random.default_rng(7).standard_normal((DIRECTIONS, size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if workload.algorithm == "reptile":
        problem = Float64(workload, arrays)
        ends = [problem.unroll(initial, x, y) for x, y, _, _ in problem.tasks]
        mean = {name: weight - torch.stack([end[name] for end in ends]).mean(0) for name, weight in initial.items()}
        return Reference(directions, directions @ flat({name: each.numpy() for name, each in mean.items()}))
    wanted = [(each, step) for each in directions for step in STEPS]
    with ThreadPoolExecutor(threads) as pool:  # each with a module of its own: `functional_call` changes it
        torch.set_num_threads(1)
        shares = [[wanted[i] for i in share] for share in np.array_split(range(len(wanted)), threads)]
        parts = list(pool.map(lambda share: slopes_along(workload, arrays, initial, share), shares))
    slopes = np.concatenate(parts).reshape(DIRECTIONS, len(STEPS))
    scale = np.median(np.abs(slopes))
    kept = np.abs(slopes[:, 0] - slopes[:, 1]) <= AGREE * scale
    return Reference(directions[kept], slopes[kept, 0])


def slopes_along(
    workload: Workload, arrays: Arrays, initial: Weights, wanted: list[tuple[np.ndarray, float]]
) -> list[float]:
    """The slope of the algorithm's objective along each direction, with a step of that size."""
    problem = Float64(workload, arrays)
    objective = problem.fixed(initial) if workload.algorithm == "fomaml" else problem.through(initial)
    return [slope(objective, initial, direction, step) for direction, step in wanted]


class Float64:
    """A workload's loss and inner steps in float64, task by task."""

    def __init__(self, workload: Workload, arrays: Arrays) -> None:
        self.workload = workload
        self.tasks = tensors.Tasks(arrays, torch.float64).each()
        self.module = tensors.module(workload, arrays, torch.float64)

    def loss(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        """Of some weights on one task's points."""
        return tensors.loss(functional_call(self.module, weights, (x,)), y)

    def unroll(self, weights: Weights, x: Tensor, y: Tensor) -> Weights:
        """The weights after the inner steps."""
        for _ in range(self.workload.inner_steps):
            leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            slopes = torch.autograd.grad(self.loss(leaves, x, y), list(leaves.values()))
            pairs = zip(leaves.items(), slopes)
            weights = {name: leaf.detach() - self.workload.inner_lr * each for (name, leaf), each in pairs}
        return weights

    def through(self, initial: Weights) -> Callable[[Weights], float]:
        """The mean query loss after a shift of the initial weights."""

        def objective(shift: Weights) -> float:
            start = shifted(initial, shift)
            ends = (self.unroll(start, x, y) for x, y, _, _ in self.tasks)
            losses = (self.loss(end, *task[2:]) for end, task in zip(ends, self.tasks))
            return sum(float(each) for each in losses) / len(self.tasks)

        return objective

    def fixed(self, initial: Weights) -> Callable[[Weights], float]:
        """The mean query loss after a shift of every task's adapted weights."""
        ends = [self.unroll(initial, x, y) for x, y, _, _ in self.tasks]

        @torch.no_grad()
        def objective(shift: Weights) -> float:
            losses = (self.loss(shifted(end, shift), *task[2:]) for end, task in zip(ends, self.tasks))
            return sum(float(each) for each in losses) / len(self.tasks)

        return objective


def shifted(weights: Weights, shift: Weights) -> Weights:
    """The sum of two trees of weights."""
    return {name: weight + shift[name] for name, weight in weights.items()}


def slope(objective: Callable[[Weights], float], like: Weights, direction: np.ndarray, step: float) -> float:
    """The central difference of an objective along a direction (weights,)."""
    sizes = [each.numel() for each in like.values()]
    parts = torch.from_numpy(direction * step).split(sizes)
    shift = {name: part.view_as(each) for (name, each), part in zip(like.items(), parts)}
    back = {name: -each for name, each in shift.items()}
    return (objective(shift) - objective(back)) / (2 * step)


def flat(tree: dict[str, np.ndarray]) -> np.ndarray:
    """A tree of arrays as one vector, in float64."""
    return np.concatenate([np.asarray(each, np.float64).ravel() for each in tree.values()])


def verdict(reference: Reference, gradient: dict[str, np.ndarray], arrays: Arrays) -> tuple[bool, float]:
    """Whether a gradient by name is right, and its error: the largest projection's, over their root mean square."""
    if len(reference.projections) < LEAST:
        return False, float("nan")
    ordered = {name: gradient[name] for name in weights_of(arrays)}
    error = np.abs(reference.directions @ flat(ordered) - reference.projections).max()
    relative = float(error / np.sqrt((reference.projections**2).mean()))
    return relative <= TOLERANCE, relative
