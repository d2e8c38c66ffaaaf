"""TorchOpt's differentiable optimizers behind the Learner interface: another peer in our harness.

Ren et al. 2023, "TorchOpt: An Efficient Library for Differentiable Optimization", arXiv 2211.06934. Optional:
the extra `torchopt`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metabench.api import (
    AlgorithmFactory,
    Batch,
    Learner,
    Predict,
    Problem,
    Rate,
    Steps,
    Task,
    hookimpl,
    minibatch,
    requires,
    step_size,
)

Weights = tuple[Tensor, ...]


@requires("torchopt", "pip install 'metabench[torchopt]'")
def torchopt_maml(
    problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3
) -> Learner:
    """MAML, second order, through TorchOpt's functional SGD (torchopt.FuncOptimizer), task by task.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    import torchopt

    return Maml(problem, lambda: torchopt.FuncOptimizer(torchopt.sgd(lr=inner_lr)), inner_steps, outer_lr)


class Maml:
    """A Learner; its training loop as TorchOpt's functional examples write it."""

    trainable = True

    def __init__(self, problem: Problem, inner: Any, inner_steps: int, outer_lr: float) -> None:
        self.problem = problem
        self.inner = inner
        self.inner_steps = inner_steps
        weights = problem.init()
        self.names = tuple(weights)
        self.weights: Weights = tuple(weight.requires_grad_() for weight in weights.values())
        self.optimizer = torch.optim.Adam(self.weights, lr=outer_lr)

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        """The loss of the weights in the order of their names."""
        return self.problem.loss(dict(zip(self.names, weights, strict=True)), batch)

    def update(self, tasks: Task, progress: float) -> Tensor:
        """See Learner."""
        self.optimizer.zero_grad()
        count = len(tasks.support.x)
        total = torch.zeros((), device=tasks.support.x.device)
        for support_x, support_y, query_x, query_y in zip(*tasks.support, *tasks.query, strict=True):
            weights, inner = self.weights, self.inner()
            for i in range(self.inner_steps):
                part = minibatch(Batch(support_x, support_y), self.problem.step_points, i)
                weights = inner.step(step_size(self.problem, 1.0, i) * self.loss(weights, part), weights)
            loss = self.loss(weights, Batch(query_x, query_y)) / count
            torch.autograd.backward(loss)
            total += loss.detach()
        self.optimizer.step()
        return total

    def adapt(self, support: Batch, steps: int) -> Iterator[Sequence[Predict]]:
        """See Learner."""
        batches = [Batch(x, y) for x, y in zip(support.x, support.y, strict=True)]
        fast = [self.weights for _ in batches]
        inner = [self.inner() for _ in batches]
        for i in range(steps + 1):
            yield [partial(self.problem.apply, dict(zip(self.names, weights, strict=True))) for weights in fast]
            if i < steps:
                parts = [minibatch(batch, self.problem.step_points, i) for batch in batches]
                share = step_size(self.problem, 1.0, i)
                fast = [self.step(*each, share) for each in zip(inner, fast, parts, strict=True)]

    def step(self, inner: Any, weights: Weights, batch: Batch, share: float) -> Weights:
        """One inner step for good, `share` times as long as the first: nothing is kept to differentiate it."""
        with torch.enable_grad():
            leaves = tuple(weight.detach().requires_grad_() for weight in weights)
            return tuple(weight.detach() for weight in inner.step(share * self.loss(leaves, batch), leaves))

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        weights = {name: weight.detach() for name, weight in zip(self.names, self.weights, strict=True)}
        return copy.deepcopy({"weights": weights, "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        with torch.no_grad():
            for name, weight in zip(self.names, self.weights, strict=True):
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"torchopt-maml": torchopt_maml}
