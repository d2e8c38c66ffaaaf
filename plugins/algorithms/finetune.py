"""The baseline that learns the training tasks as one data set, and then adapts like everybody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Learner,
    Meta,
    NotApplicableError,
    Pool,
    Predict,
    Problem,
    Rate,
    Task,
    hookimpl,
    map_tree,
    sgd,
)
from metabench_plugins.algorithms.embeddings import head_layer, with_layer


def finetune(problem: Problem, *, inner_lr: Rate = 0.01, train_lr: Rate = 1e-3) -> Algorithm | Learner:
    """One model trained by Adam on the pooled training tasks, adapted by gradient descent.

    Where the suite has labelled classes, the pool is all of its training classes: the model gets an output for
    each, and adaptation starts from the trained body with the initial head. Otherwise the pool is the union of
    the tasks' points. "Pretrained" of Finn et al. 2017, arXiv 1703.03400, section 5.1 and Table 2, and the
    fine-tuning baseline of its Table 1.

    Args:
        inner_lr: Step size of the adaptation by gradient descent.
        train_lr: Learning rate of Adam, which trains the model.
    """
    inner = sgd(problem, inner_lr)
    if problem.pool is not None:
        return PooledClassifier(problem, inner, problem.pool, train_lr)

    def objective(meta: Meta, task: Task, progress: float) -> Tensor:
        return problem.loss(meta, map_tree(lambda s, q: torch.cat([s, q]), task.support, task.query))

    return Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=train_lr))


class PooledClassifier:
    """A Learner: trains on as many images of the pool as the tasks hold, and adapts task by task."""

    trainable = True

    def __init__(self, problem: Problem, inner: InnerLoop, pool: Pool, train_lr: float) -> None:
        self.problem = problem
        self.inner = inner
        self.pool = pool
        self.head = head_layer(problem)
        self.wide = problem.wrap(lambda module: widen(module, self.head, pool.classes))
        self.weights = {name: weight.requires_grad_() for name, weight in self.wide.init().items()}
        self.optimizer = Adam(self.weights.values(), lr=train_lr)
        self.generator = problem.generator("pool")

    def update(self, tasks: Task, progress: float) -> Tensor:
        """See Learner; the tasks' own labels say nothing about the pool's classes."""
        points = sum(batch.y.shape[0] * batch.y.shape[1] for batch in tasks)
        self.optimizer.zero_grad()
        loss = self.wide.loss(self.weights, self.pool.sample(points, self.generator))
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def adapt(self, support: Batch, steps: int) -> Iterator[Sequence[Predict]]:
        """See Learner."""
        trained = {name: weight.detach().clone() for name, weight in self.weights.items()}
        start = self.problem.init()
        start |= {n: w for n, w in trained.items() if n in start and not n.startswith(f"{self.head}.")}
        supports = [Batch(x, y) for x, y in zip(support.x, support.y, strict=True)]
        fast = [self.inner.start(start, batch) for batch in supports]
        for i in range(steps + 1):
            yield [partial(self.inner.predict, start, one) for one in fast]
            if i < steps:
                fast = [self.inner.step(start, one, batch, i) for one, batch in zip(fast, supports, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return {
            "weights": {name: weight.detach().clone() for name, weight in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.weights[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])


def widen(module: nn.Module, path: str, outputs: int) -> nn.Module:
    """The module with a linear last layer, of that name, of so many outputs."""
    old = module.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise NotApplicableError(f"it needs a linear last layer, and '{path}' is {type(old).__name__}")
    return with_layer(module, path, nn.Linear(old.in_features, outputs))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"finetune": finetune}
