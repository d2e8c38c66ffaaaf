"""HF-MAML: MAML's gradient without second derivatives, their products taken as differences of gradients."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    Params,
    Positive,
    Problem,
    Rate,
    Steps,
    Task,
    add_scaled,
    hookimpl,
    inner_product,
    map_tree,
    sgd,
    step_size,
    support_grad,
    trajectory,
    value_and_grad,
)


def hfmaml(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    radius: Positive = 1e-2,
) -> Algorithm:
    """MAML's direction through the inner steps, each Hessian product from two gradients: no graph of a graph is kept.

    Fallah, Mokhtari and Ozdaglar 2020, arXiv 1908.10400, section 3 (HF-MAML), for one step; more are gone back one by
    one. The paper's difference is `radius` times the vector; here it is `radius` long.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        radius: How far to both sides of the weights gradients are taken, a distance over all weights: the smaller,
            the nearer to MAML, until rounding is seen.
    """
    inner = sgd(problem, inner_lr)

    def hessian_product(weights: Params, vector: Params, support: Batch, i: int) -> Params:
        share = radius / (inner_product(vector, vector) + 1e-24).sqrt()
        ends = (add_scaled(weights, vector, scale) for scale in (share, -share))
        ahead, behind = (support_grad(problem, end, support, i) for end in ends)
        return map_tree(lambda a, b: (a - b) / (2 * share), ahead, behind)

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        *path, adapted = trajectory(inner, meta, task.support, inner_steps)
        loss, direction = value_and_grad(problem.loss)(adapted, task.query)
        for i, weights in reversed(list(enumerate(path))):
            product = hessian_product(weights, direction, task.support, i)
            direction = add_scaled(direction, product, -step_size(problem, inner_lr, i))
        return loss, direction

    return Algorithm(problem.init, inner, meta_grad=meta_grad, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"hf-maml": hfmaml}
