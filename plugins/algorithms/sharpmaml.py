"""Sharp-MAML: both loops take the gradient at the worst point nearby, which favours flat minima."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    Params,
    Problem,
    Rate,
    Steps,
    Task,
    add_scaled,
    grad,
    hookimpl,
    inner_product,
    query_loss,
    sgd,
    step_size,
    support_grad,
    value_and_grad,
)


def sharpmaml(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    lower: Rate = 5e-4,
    upper: Rate = 5e-4,
) -> Algorithm:
    """MAML, second order, each of whose gradients is taken a radius up the gradient from where it is applied.

    Abbas et al. 2022, arXiv 2206.03996, Algorithm 1 (Sharp-MAML_both); with one radius at 0 its variants `up` and
    `low`, with both MAML, at half the cost. The outer radius is gone for each task by itself, where the authors go it
    for a batch.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        lower: Radius of the inner loop, a distance over all weights; the authors' code has 0.0005 on Omniglot.
        upper: Radius of the outer loop.
    """

    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        climbed = uphill(fast, support_grad(problem, fast, support, i), lower) if lower else fast
        return add_scaled(fast, support_grad(problem, climbed, support, i), -step_size(problem, inner_lr, i))

    inner = sgd(problem, inner_lr)._replace(step=step)
    objective = query_loss(problem, inner, inner_steps)

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        loss, gradient = value_and_grad(objective)(meta, task, progress)
        return loss, grad(objective)(uphill(meta, gradient, upper), task, progress)

    low = Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))
    return low._replace(objective=None, meta_grad=meta_grad) if upper else low


def uphill(weights: Params, gradient: Params, radius: float) -> Params:
    """The weights, a radius up the gradient."""
    return add_scaled(weights, gradient, radius / (inner_product(gradient, gradient) + 1e-24).sqrt())


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"sharp-maml": sharpmaml}
