"""Algorithm (one task) -> Learner (many tasks): the only place that batches tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Learner, Predict, Task
from metabench.autodiff import value_and_grad
from metabench.trees import Tree, concatenate, flatten, leading_axis, map_tree, slices, stack, unflatten


class Mapper(Protocol):
    """A strategy: how a function of one task is mapped over the leading axis of its arguments."""

    name: str

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """The results, stacked along a leading axis, in the tasks' order."""
        ...

    def mean(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """Their mean over the tasks, summed in the tasks' order."""
        ...


class Vectorised:
    """`torch.vmap` over at most `chunk` tasks at a time: one set of kernels for all of them."""

    name = "vectorised"

    def __init__(self, chunk: int = 64) -> None:
        self.chunk = chunk

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        return concatenate([torch.vmap(function)(*piece) for piece in slices(trees, self.chunk)])

    def mean(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        tasks = leading_axis(trees)
        sums = [
            map_tree(lambda leaf: leaf.sum(0), torch.vmap(function)(*piece)) for piece in slices(trees, self.chunk)
        ]
        return map_tree(lambda *parts: sum(parts) / tasks, *sums)


class Loop:
    """Task after task, or one task a thread: cheaper than vmap around convolutions on a CPU."""

    name = "loop"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def each(self, function: Callable[..., Tree], *trees: Tree) -> Iterator[Tree]:
        """The results, one by one, in the tasks' order."""
        tasks = [map_tree(lambda leaf, i=i: leaf[i], trees) for i in range(leading_axis(trees))]
        if self.pool is None:
            return (function(*task) for task in tasks)
        recording = torch.is_grad_enabled()  # kept per thread by torch

        def call(task: Tree) -> Tree:
            with torch.set_grad_enabled(recording):
                return function(*task)

        return self.pool.map(call, tasks)

    def map(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        return stack(list(self.each(function, *trees)))

    def mean(self, function: Callable[..., Tree], *trees: Tree) -> Tree:
        """See Mapper."""
        results = self.each(function, *trees)
        total = next(results)
        for result in results:
            total = map_tree(torch.add, total, result)
        return map_tree(lambda leaf: leaf / leading_axis(trees), total)


def choose_mapper(strategy: str, meta: Tree, threads: int = 1) -> Mapper:
    """The strategy of that name; `auto` loops over tasks only for large convolutions on a CPU.

    The rule is fixed rather than timed, so that the same trial always gives the same bits. What it rests on:
    weights of a task's own turn its convolutions into grouped ones, which on a CPU cost about half of the loop
    for 16 filters and no less than it for 32 and 64; and only the loop can use the trial's threads.
    """
    leaves = flatten(meta)[0]
    large = any(leaf.dim() >= 4 and leaf.numel() >= LARGE_CONVOLUTION for leaf in leaves)
    if strategy == "loop" or (strategy == "auto" and large and leaves[0].device.type == "cpu"):
        return Loop(threads)
    return Vectorised()


LARGE_CONVOLUTION = 32 * 32 * 3 * 3
"""Weights of one convolution from which the loop is the better choice on a CPU."""


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

    def __init__(self, algorithm: Algorithm, strategy: str = "auto", threads: int = 1) -> None:
        self.algorithm = algorithm
        leaves, self.spec = flatten(algorithm.init())
        self.leaves = [leaf.detach().clone() for leaf in leaves]
        self.mapper = choose_mapper(strategy, self.meta, threads)
        self.trainable = not (algorithm.objective is None and algorithm.meta_grad is None)
        self.optimizer = algorithm.optimizer(self.leaves) if self.trainable else None
        self.rates = [group["lr"] for group in self.optimizer.param_groups] if self.optimizer else []

    @property
    def meta(self) -> Tree:
        """The meta-parameters as the algorithm shaped them."""
        return unflatten(self.leaves, self.spec)

    @torch.no_grad()
    def update(self, tasks: Task, progress: float) -> Tensor:
        """One meta-update against the mean direction of n tasks; returns the mean loss."""
        if self.optimizer is None:
            raise ValueError("This algorithm has neither objective nor meta_grad: there is nothing to train.")
        direction = self.algorithm.meta_grad or exact_gradient(self.algorithm)
        meta = self.meta
        loss, mean = self.mapper.mean(lambda task: direction(meta, task, progress), tasks)
        for leaf, step in zip(self.leaves, flatten(mean)[0], strict=True):
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


def exact_gradient(algorithm: Algorithm) -> Callable[[Tree, Task, float], tuple[Tensor, Tree]]:
    """The value and the gradient of an algorithm's objective on one task."""
    return value_and_grad(algorithm.objective)  # type: ignore[arg-type]


def lift(made: Algorithm | Learner, strategy: str = "auto", threads: int = 1) -> Learner:
    """What a factory made, as the engine drives it."""
    return Lifted(made, strategy, threads) if isinstance(made, Algorithm) else made


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
