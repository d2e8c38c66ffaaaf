"""ProtoMAML: MAML whose linear head starts at the prototypes of the task's classes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import torch
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    PackageRecipes,
    Params,
    Problem,
    Rate,
    Steps,
    grad,
    hookimpl,
    map_tree,
    minibatch,
    query_loss,
    step_size,
    value_and_grad,
)
from metabench_plugins.algorithms.embeddings import body_of, class_means, linear_head, ways_of
from metabench_plugins.algorithms.norms import norm_names


def protomaml(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    first_order: bool = False,
) -> Algorithm:
    """MAML from the head 2c, -|c|^2 of the class means c: before the first step it is a prototypical network.

    The body is learnt, through the inner steps and through the prototypes; the head is not. The inner loop leaves
    BatchNorm's scales and shifts alone. Triantafillou et al. 2020, arXiv 1903.03096, section 3 (Proto-MAML). The
    authors' code gives the query the support's batch statistics; here it has its own, as all algorithms do, or by
    the inductive protocol those of the support and itself.

    Args:
        inner_lr: Step size of the inner loop, which moves body and head.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        first_order: Whether inner steps are not differentiated, as in the paper's experiments (fo-Proto-MAML);
            prototypes always are.
    """
    ways = ways_of(problem)
    body = body_of(problem)
    weight, bias = linear_head(problem, ways)
    still = norm_names(problem.module())

    def start(meta: Params, support: Batch) -> Params:
        centres = class_means(body.apply(meta, support.x), support.y, ways)
        moving = {name: value for name, value in meta.items() if name not in still}
        return {**moving, weight: 2 * centres, bias: -centres.square().sum(1)}

    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        part = minibatch(support, problem.step_points, i)
        with torch.no_grad() if first_order else nullcontext():
            grads = grad(lambda moving: problem.loss(meta | moving, part))(fast)
        length = step_size(problem, inner_lr, i)
        return map_tree(lambda value, gradient: value - length * gradient, fast, grads)

    inner = InnerLoop(start, step, lambda meta, fast, x: problem.apply(meta | fast, x))
    objective = query_loss(problem, inner, inner_steps)
    return Algorithm(
        body.init,
        inner,
        objective=None if first_order else objective,  # which would claim a gradient that is exact
        meta_grad=value_and_grad(objective) if first_order else None,
        optimizer=partial(Adam, lr=outer_lr),
    )


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"protomaml": protomaml}


@hookimpl
def register_recipes() -> PackageRecipes:
    """One step of a size that was tried on glyphs. The authors' code has six of 0.0054 to 0.3 for Meta-Dataset, by
    file; six of 0.3 train badly here."""
    one = {"protomaml": {"inner_lr": 0.1, "inner_steps": 1}}
    return {("omniglot", "*"): one, ("mini-imagenet", "*"): one}
