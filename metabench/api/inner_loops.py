"""Inner loops that algorithms share: adaptation to one task by gradient steps on its support set."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metabench.api.autodiff import grad
from metabench.api.contract import Batch, Fast, InnerLoop, Meta, ObjectiveFn, Params, Problem, Task
from metabench.api.trees import add_scaled, map_tree


def sgd(problem: Problem, lr: float, batch_size: int = 0) -> InnerLoop:
    """Plain gradient descent from the meta-learnt weights; differentiable through every step.

    Meta and Fast are the model's weights. `batch_size` > 0 takes the support set in consecutive minibatches, and
    starts again at its end; with 0 they are `problem.step_points` large, if the suite says so.
    """

    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        part = minibatch(support, batch_size or problem.step_points, i)
        return add_scaled(fast, grad(problem.loss)(fast, part), -step_size(problem, lr, i))

    return InnerLoop(
        start=lambda meta, support: meta,
        step=step,
        predict=lambda meta, fast, x: problem.apply(fast, x),
    )


def partial_sgd(problem: Problem, lr: float, names: Collection[str]) -> InnerLoop:
    """Gradient descent on the weights of these names alone; the others stay as they are meta-learnt.

    Fast holds the weights that move, and no gradient is taken of the others in the inner loop.
    """
    names = tuple(names)

    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        return add_scaled(fast, support_grad(problem, fast, support, i, meta), -step_size(problem, lr, i))

    return InnerLoop(
        start=lambda meta, support: {name: meta[name] for name in names},
        step=step,
        predict=lambda meta, fast, x: problem.apply(meta | fast, x),
    )


def adam(problem: Problem, lr: float, batch_size: int = 0, beta2: float = 0.999, epsilon: float = 1e-8) -> InnerLoop:
    """Adam without momentum (beta1 = 0), its second moments starting at zero for each task.

    Fast is {"weights": the model's weights, "square": their second moments}; `batch_size` is as in `sgd`. Kingma and
    Ba, arXiv 1412.6980, Algorithm 1; as the inner loop of arXiv 1803.02999, section 6.
    """

    def start(meta: Params, support: Batch) -> dict[str, Params]:
        return {"weights": meta, "square": map_tree(torch.zeros_like, meta)}

    def step(meta: Params, fast: dict[str, Params], support: Batch, i: int) -> dict[str, Params]:
        grads = grad(problem.loss)(fast["weights"], minibatch(support, batch_size or problem.step_points, i))
        square = map_tree(lambda old, g: beta2 * old + (1 - beta2) * g * g, fast["square"], grads)
        unbias, length = 1 - beta2 ** (i + 1), step_size(problem, lr, i)
        weights = map_tree(
            lambda w, g, v: w - length * g / ((v / unbias).sqrt() + epsilon), fast["weights"], grads, square
        )
        return {"weights": weights, "square": square}

    return InnerLoop(start=start, step=step, predict=lambda meta, fast, x: problem.apply(fast["weights"], x))


def support_grad(problem: Problem, moving: Params, support: Batch, i: int, still: Params | None = None) -> Params:
    """The gradient of the loss that inner step i (from 0) adapts on, for the weights that it moves.

    `still` has the model's other weights; those of `moving` stand for its own.
    """
    part = minibatch(support, problem.step_points, i)
    return grad(lambda moving: problem.loss(still | moving if still else moving, part))(moving)  # type: ignore[no-any-return]


def unroll(inner: InnerLoop, meta: Meta, support: Batch, steps: int) -> Fast:
    """Fast after `steps` inner steps from its start."""
    for fast in trajectory(inner, meta, support, steps):  # noqa: B007
        pass
    return fast


def trajectory(inner: InnerLoop, meta: Meta, support: Batch, steps: int) -> Iterator[Fast]:
    """Fast at its start and after each of `steps` inner steps."""
    fast = inner.start(meta, support)
    yield fast
    for i in range(steps):
        if rematerialise.get():
            fast = checkpoint(inner.step, meta, fast, support, i, use_reentrant=False, preserve_rng_state=False)
        else:
            fast = inner.step(meta, fast, support, i)
        yield fast


def query_loss(problem: Problem, inner: InnerLoop, steps: int) -> ObjectiveFn:
    """The usual `objective`: the loss on the query set after `steps` inner steps on the support set."""

    def objective(meta: Meta, task: Task, progress: float) -> Tensor:
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


def step_size(problem: Problem, lr: float, i: int) -> float:
    """The step size of inner step i (from 0), where it is `lr` at first: see Suite.later_lr."""
    return lr if i == 0 else lr * problem.later_lr


def minibatch(batch: Batch, size: int, i: int) -> Batch:
    """The i-th run of `size` consecutive points, wrapping round at the end; all points for size 0.

    With `problem.step_points` for the size it is what inner step i adapts on.
    """
    points = len(batch.x)
    if not 0 < size < points:
        return batch
    rows = torch.arange(i * size, (i + 1) * size, device=batch.x.device) % points
    return Batch(batch.x[rows], batch.y[rows])
