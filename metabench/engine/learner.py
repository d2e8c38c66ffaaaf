"""Algorithm (one task) -> Learner (many tasks): the only place that batches tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Learner, Meta, MetaGradFn, Predict, Suite, Task
from metabench.api.autodiff import value_and_grad
from metabench.api.collecting import Collector
from metabench.api.trees import Tree, leading_axis, map_tree, stack
from metabench.engine.outer_loop import OuterLoop
from metabench.engine.strategies import make_strategy
from metabench.engine.strategies.base import Strategy, by_rule


class AdaptedBatch(Sequence[Predict]):
    """One predictor a task, after some inner steps: stacked, so that scoring can be batched too."""

    def __init__(self, learner: BatchedLearner, fast: Tree) -> None:
        self.learner = learner
        self.fast = fast

    def __len__(self) -> int:
        return leading_axis(self.fast)

    def __getitem__(self, task: Any) -> Any:
        fast = map_tree(lambda leaf: leaf[task], self.fast)
        return partial(
            self.learner.strategy.one, partial(self.learner.algorithm.inner.predict, self.learner.meta), fast
        )

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """`function(predict, *one task of the trees)` for every task, stacked."""
        predict = self.learner.algorithm.inner.predict
        meta = self.learner.meta
        return self.learner.strategy.map(
            lambda fast, *rest: function(partial(predict, meta, fast), *rest), self.fast, *trees
        )


class BatchedLearner:
    """The Learner made of an Algorithm: its outer loop and a strategy, and what its suite says of training."""

    def __init__(self, algorithm: Algorithm, strategy: Strategy, suite: Suite | None = None) -> None:
        self.algorithm = algorithm
        self.strategy = strategy
        self.trainable = not (algorithm.objective is None and algorithm.meta_grad is None)
        self.task_meta_grad: MetaGradFn = algorithm.meta_grad or exact_gradient(algorithm)
        self.outer = OuterLoop(algorithm, suite.clip_norm if suite else 0.0)
        self.collector = (
            Collector(suite.collect, suite.step_points, strategy.map) if suite and suite.collect else None
        )
        strategy.configure(self.meta, acting=bool(suite and suite.acting))

    @cached_property
    def for_one_task(self) -> Strategy:
        """The strategy for a task alone: there is nothing to batch, and vmap would cost twice the time."""
        return self.strategy if self.strategy.name == "threaded" else make_strategy("threaded", plain_layers=True)

    @property
    def meta(self) -> Meta:
        """The meta-parameters as the algorithm shaped them."""
        return self.outer.meta

    @torch.no_grad()
    def prepare(self, tasks: Task) -> None:
        """Get the strategy ready for tasks of these shapes: compile, choose a layout. The state stays as it is."""
        if self.trainable:
            self.strategy.prepare(self.task_meta_grad, self.outer, self.collected(tasks))

    def collected(self, tasks: Task) -> Task:
        """The tasks to learn from, with what the learner meets in them where that depends on it."""
        return self.collector.tasks(self.algorithm.inner, self.meta, tasks) if self.collector else tasks

    @torch.no_grad()
    def direction(self, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """The mean loss of n tasks and the mean direction to step against."""
        return self.strategy.mean(self.task_meta_grad, self.meta, self.collected(tasks), progress)

    @torch.no_grad()
    def update(self, tasks: Task, progress: float) -> Tensor:
        """One meta-update against the mean direction of n tasks; returns the mean loss."""
        if not self.trainable:
            raise ValueError("This algorithm has neither objective nor meta_grad: there is nothing to train.")
        return self.strategy.step(self.task_meta_grad, self.outer, self.collected(tasks), progress)

    @torch.no_grad()
    def adapt(self, support: Batch, steps: int) -> Iterator[AdaptedBatch]:
        """See Learner."""
        inner, meta = self.algorithm.inner, self.meta
        if self.collector:
            for fast, _ in self.collector.trajectory(inner, meta, support, steps):
                yield AdaptedBatch(self, fast)
            return
        strategy = self.for_one_task if leading_axis(support) == 1 else self.strategy
        fast = strategy.map(lambda batch: inner.start(meta, batch), support)
        if strategy is self.for_one_task:  # a view of the weights, which later updates change in place
            fast = map_tree(torch.clone, fast)
        yield AdaptedBatch(self, fast)
        for i in range(steps):
            fast = strategy.map(lambda one, batch, i=i: inner.step(meta, one, batch, i), fast, support)
            yield AdaptedBatch(self, fast)

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return self.outer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        self.outer.load_state_dict(state)


def exact_gradient(algorithm: Algorithm) -> MetaGradFn:
    """The value and the gradient of an algorithm's objective on one task."""
    return value_and_grad(algorithm.objective)  # type: ignore[arg-type]


def as_learner(
    made: Algorithm | Learner,
    strategy: str = "auto",
    threads: int = 1,
    rematerialise: bool = False,
    plain_layers: bool = False,
    suite: Suite | None = None,
) -> Learner:
    """What a factory made, as the engine drives it. `auto` goes by a fixed rule; `select_strategy` measures."""
    if not isinstance(made, Algorithm):
        return made
    if strategy == "auto":
        strategy = by_rule(made.init(), plain_layers)
    return BatchedLearner(made, make_strategy(strategy, threads, rematerialise, plain_layers), suite)


def layers_of(learner: Learner) -> str:
    """What runs a model's convolutions, where there is something to say."""
    return learner.strategy.layers if isinstance(learner, BatchedLearner) else ""


def strategy_of(learner: Learner) -> str:
    """How a learner batches its tasks; `own` for one that is not ours."""
    return learner.strategy.name if isinstance(learner, BatchedLearner) else "own"


def adapt_fully(learner: Learner, support: Batch, steps: int) -> Sequence[Predict]:
    """The predictors after the last inner step; those before it are let go at once."""
    for adapted in learner.adapt(support, steps):
        last = adapted
    return last


def map_tasks(adapted: Sequence[Predict], function: Callable[..., Tree], *trees: Tree) -> Tree:
    """`function(predict, *one task of the trees)` for every task, stacked, whoever made the predictors."""
    if isinstance(adapted, AdaptedBatch):
        return adapted.map(function, *trees)
    return stack(
        [function(predict, *map_tree(lambda leaf, i=i: leaf[i], trees)) for i, predict in enumerate(adapted)]
    )
