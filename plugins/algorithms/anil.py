"""ANIL: almost no inner loop; adaptation moves the last layer alone."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    PackageRecipes,
    Problem,
    Rate,
    Steps,
    hookimpl,
    partial_sgd,
    query_loss,
)


def anil(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML, second order, whose inner loop moves the head; the body is meta-learnt and then reused.

    Raghu et al. 2020, arXiv 1909.09157, section 4.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    inner = partial_sgd(problem, inner_lr, problem.head)
    objective = query_loss(problem, inner, inner_steps)
    return Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"anil": anil}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Head steps: five also where MAML takes one, as one step of the head is too little. arXiv 1909.09157 has MAML's
    settings on 20 ways, and no sinusoids."""
    return {
        ("omniglot", "*"): {"anil": {"inner_steps": 5, "test_steps": 5}},
        ("sinusoid", "*"): {"anil": {"inner_steps": 5}},
    }
