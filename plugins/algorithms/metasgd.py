"""Meta-SGD: initial weights and, for each of them, a step size."""

from __future__ import annotations

from functools import partial

import torch
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    Meta,
    PackageRecipes,
    Params,
    Problem,
    Rate,
    Steps,
    hookimpl,
    map_tree,
    query_loss,
    sgd,
    step_size,
    support_grad,
)


def metasgd(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """Meta-SGD: MAML with a learnt step size for every weight, which may become negative.

    Li et al. 2017, arXiv 1707.09835, section 3 and Algorithm 1. All step sizes start at `inner_lr`, where the
    paper draws them at random from 0.005 to 0.1; it takes one inner step.

    Args:
        inner_lr: Step size of every weight before meta-training.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer, for weights and step sizes.
    """

    def init() -> Meta:
        weights = problem.init()
        return {"weights": weights, "rates": map_tree(lambda weight: torch.full_like(weight, inner_lr), weights)}

    def step(meta: Meta, fast: Params, support: Batch, i: int) -> Params:
        grads = support_grad(problem, fast, support, i)
        share = step_size(problem, 1.0, i)
        return map_tree(lambda weight, rate, gradient: weight - share * rate * gradient, fast, meta["rates"], grads)

    inner = sgd(problem, inner_lr)._replace(start=lambda meta, support: meta["weights"], step=step)
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"metasgd": metasgd}


@hookimpl
def register_recipes() -> PackageRecipes:
    """One step, as many as step sizes were learnt for: arXiv 1707.09835, first step size from its range."""
    one = {"inner_steps": 1, "test_steps": 1}
    return {
        ("sinusoid", "*"): {"metasgd": {"test_steps": 1}},
        ("omniglot", "*"): {"metasgd": {**one, "inner_lr": 0.1}},
        ("mini-imagenet", "*"): {"metasgd": one},
        ("mini-imagenet", "paper"): {"metasgd": {"inner_lr": 0.01}},
    }
