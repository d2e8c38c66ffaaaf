"""Algorithm (one task) -> Learner (many tasks): the only place that batches tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Learner, Meta, Predict, Task
from metabench.autodiff import value_and_grad
from metabench.compiled import Compiled
from metabench.strategies import Direction, Mapper, Threaded, Vectorised, by_rule
from metabench.trees import Tree, flatten, leading_axis, map_tree, stack, unflatten


class Adapted(Sequence[Predict]):
    """One predictor a task, after some inner steps: stacked, so that scoring can be batched too."""

    def __init__(self, learner: Lifted, fast: Tree) -> None:
        self.learner = learner
        self.fast = fast

    def __len__(self) -> int:
        return leading_axis(self.fast)

    def __getitem__(self, task: Any) -> Any:
        fast = map_tree(lambda leaf: leaf[task], self.fast)
        return partial(self.learner.algorithm.predict, self.learner.meta, fast)

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """`function(predict, *one task of the trees)` for every task, stacked."""
        predict = self.learner.algorithm.predict
        meta = self.learner.meta
        return self.learner.mapper.map(
            lambda fast, *rest: function(partial(predict, meta, fast), *rest), self.fast, *trees
        )


class Lifted:
    """The Learner made of an Algorithm: its meta-parameters, its outer optimiser and a strategy."""

    def __init__(self, algorithm: Algorithm, mapper: Mapper) -> None:
        self.algorithm = algorithm
        leaves, self.spec = flatten(algorithm.init())
        self.leaves = [leaf.detach().clone() for leaf in leaves]
        self.mapper = mapper
        self.trainable = not (algorithm.objective is None and algorithm.meta_grad is None)
        self.of_one_task: Direction = algorithm.meta_grad or exact_gradient(algorithm)
        self.optimizer = fused(algorithm.optimizer(self.leaves)) if self.trainable else None
        self.rates = [group["lr"] for group in self.optimizer.param_groups] if self.optimizer else []

    @property
    def meta(self) -> Meta:
        """The meta-parameters as the algorithm shaped them."""
        return unflatten(self.leaves, self.spec)

    @torch.no_grad()
    def direction(self, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """The mean loss of n tasks and the mean direction to step against."""
        return self.mapper.mean(self.of_one_task, self.meta, tasks, progress)

    @torch.no_grad()
    def update(self, tasks: Task, progress: float) -> Tensor:
        """One meta-update against the mean direction of n tasks; returns the mean loss."""
        if self.optimizer is None:
            raise ValueError("This algorithm has neither objective nor meta_grad: there is nothing to train.")
        loss, direction = self.direction(tasks, progress)
        for leaf, step in zip(self.leaves, flatten(direction)[0], strict=True):
            leaf.grad = step
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.algorithm.schedule(progress)
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def adapt(self, support: Batch, steps: int) -> Iterator[Adapted]:
        """See Learner."""
        algorithm, meta = self.algorithm, self.meta
        fast = self.mapper.map(lambda batch: algorithm.start(meta, batch), support)
        yield Adapted(self, fast)
        for i in range(steps):
            fast = self.mapper.map(lambda one, batch, i=i: algorithm.step(meta, one, batch, i), fast, support)
            yield Adapted(self, fast)

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return {
            "meta": self.leaves,
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        with torch.no_grad():
            for leaf, value in zip(self.leaves, state["meta"], strict=True):
                leaf.copy_(value)
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])


def exact_gradient(algorithm: Algorithm) -> Direction:
    """The value and the gradient of an algorithm's objective on one task."""
    return value_and_grad(algorithm.objective)  # type: ignore[arg-type]


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimiser; Adam in torch's single kernel, where its author did not choose another way."""
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one too
        for group in optimizer.param_groups:
            chosen = (
                (group["fused"], group["foreach"]) != (None, None) or group["capturable"] or group["differentiable"]
            )
            group["fused"] = group["fused"] if chosen else True
    return optimizer


def lift(made: Algorithm | Learner, strategy: str = "auto", threads: int = 1, rematerialise: bool = False) -> Learner:
    """What a factory made, as the engine drives it. `auto` goes by a fixed rule; `choice` measures."""
    if not isinstance(made, Algorithm):
        return made
    if strategy == "auto":
        strategy = by_rule(made.init())
    mappers: dict[str, Callable[[], Mapper]] = {
        "vectorised": Vectorised,
        "compiled": Compiled,
        "threaded": lambda: Threaded(threads, rematerialise),
    }
    return Lifted(made, mappers[strategy]())


def strategy_of(learner: Learner) -> str:
    """How a learner batches its tasks; `own` for one that is not ours."""
    return learner.mapper.name if isinstance(learner, Lifted) else "own"


def adapt_fully(learner: Learner, support: Batch, steps: int) -> Sequence[Predict]:
    """The predictors after the last inner step; those before it are let go at once."""
    for adapted in learner.adapt(support, steps):
        last = adapted
    return last


def map_tasks(adapted: Sequence[Predict], function: Callable[..., Tree], *trees: Tree) -> Tree:
    """`function(predict, *one task of the trees)` for every task, stacked, whoever made the predictors."""
    if isinstance(adapted, Adapted):
        return adapted.map(function, *trees)
    return stack(
        [function(predict, *map_tree(lambda leaf, i=i: leaf[i], trees)) for i, predict in enumerate(adapted)]
    )
