"""Inner loops that algorithms share: adaptation to one task by gradient steps on its support set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metabench.api.autodiff import grad
from metabench.api.trees import Tree, map_tree

if TYPE_CHECKING:
    from metabench.api.contract import Batch, Problem, Task


class Inner(NamedTuple):
    """An inner loop, in the shape that `Algorithm` takes; `weights` reads the weights that it moves out of Fast."""

    start: Callable[[Tree, Batch], Tree]
    step: Callable[[Tree, Tree, Batch, int], Tree]
    predict: Callable[[Tree, Tree, Any], Any]
    weights: Callable[[Tree], Tree]


def sgd(problem: Problem, lr: float, batch_size: int = 0) -> Inner:
    """Plain gradient descent from the meta-learnt weights; differentiable through every step.

    `batch_size` > 0 takes the support set in consecutive minibatches, beginning anew at its end.
    """

    def step(meta: Tree, fast: Tree, support: Batch, i: int) -> Tree:
        gradient = grad(problem.loss)(fast, minibatch(support, batch_size, i))
        return map_tree(lambda weight, slope: weight - lr * slope, fast, gradient)

    return Inner(
        start=lambda meta, support: meta,
        step=step,
        predict=lambda meta, fast, x: problem.apply(fast, x),
        weights=lambda fast: fast,
    )


def partial_sgd(problem: Problem, lr: float, names: Collection[str]) -> Inner:
    """Gradient descent on the weights of these names alone; the others stay as they are meta-learnt.

    Fast holds the weights that move, and no gradient is taken of the others in the inner loop.
    """

    def step(meta: Tree, fast: Tree, support: Batch, i: int) -> Tree:
        gradient = grad(lambda moving: problem.loss(meta | moving, support))(fast)
        return map_tree(lambda weight, slope: weight - lr * slope, fast, gradient)

    return Inner(
        start=lambda meta, support: {name: meta[name] for name in names},
        step=step,
        predict=lambda meta, fast, x: problem.apply(meta | fast, x),
        weights=lambda fast: fast,
    )


def adam(problem: Problem, lr: float, batch_size: int = 0, beta2: float = 0.999, epsilon: float = 1e-8) -> Inner:
    """Adam without momentum (beta1 = 0), its second moments starting at zero for each task.

    Kingma and Ba, arXiv 1412.6980, Algorithm 1; as the inner loop of arXiv 1803.02999, section 6.
    """

    def start(meta: Tree, support: Batch) -> Tree:
        return {"weights": meta, "square": map_tree(torch.zeros_like, meta)}

    def step(meta: Tree, fast: Tree, support: Batch, i: int) -> Tree:
        gradient = grad(problem.loss)(fast["weights"], minibatch(support, batch_size, i))
        square = map_tree(lambda old, g: beta2 * old + (1 - beta2) * g * g, fast["square"], gradient)
        unbias = 1 - beta2 ** (i + 1)
        weights = map_tree(
            lambda w, g, v: w - lr * g / ((v / unbias).sqrt() + epsilon), fast["weights"], gradient, square
        )
        return {"weights": weights, "square": square}

    return Inner(
        start=start,
        step=step,
        predict=lambda meta, fast, x: problem.apply(fast["weights"], x),
        weights=lambda fast: fast["weights"],
    )


def unroll(inner: Any, meta: Tree, support: Batch, steps: int) -> Tree:
    """Fast after `steps` inner steps from its start; `inner` is an `Inner` or an `Algorithm`."""
    for fast in trajectory(inner, meta, support, steps):  # noqa: B007
        pass
    return fast


def trajectory(inner: Any, meta: Tree, support: Batch, steps: int) -> Iterator[Tree]:
    """Fast at its start and after each of `steps` inner steps; `inner` is an `Inner` or an `Algorithm`."""
    fast = inner.start(meta, support)
    yield fast
    for i in range(steps):
        if rematerialise.get():
            fast = checkpoint(inner.step, meta, fast, support, i, use_reentrant=False, preserve_rng_state=False)
        else:
            fast = inner.step(meta, fast, support, i)
        yield fast


def query_loss(problem: Problem, inner: Any, steps: int) -> Callable[[Tree, Task, float], Tensor]:
    """The usual `objective`: the loss on the query set after `steps` inner steps on the support set.

    `inner` is an `Inner` or an `Algorithm`.
    """

    def objective(meta: Tree, task: Task, progress: float) -> Tensor:
        fast = unroll(inner, meta, task.support, steps)
        return problem.criterion(lambda x: inner.predict(meta, fast, x), task.query)

    return objective


rematerialise: ContextVar[bool] = ContextVar("rematerialise", default=False)
"""Whether `trajectory` keeps the graph of a step, or makes it again when it is differentiated."""


@contextmanager
def rematerialising() -> Iterator[None]:
    """Inside it the memory that `trajectory` needs hardly grows with the steps, and each is computed once more.

    Activation checkpointing: Chen et al. 2016, arXiv 1604.06174. Not under `torch.vmap`, which cannot do it.
    """
    token = rematerialise.set(True)
    try:
        yield
    finally:
        rematerialise.reset(token)


def minibatch(batch: Batch, size: int, i: int) -> Batch:
    """The i-th run of `size` consecutive points, wrapping round at the end; all points for size 0."""
    points = len(batch.x)
    if not 0 < size < points:
        return batch
    rows = torch.arange(i * size, (i + 1) * size, device=batch.x.device) % points
    return map_tree(lambda leaf: leaf[rows], batch)
