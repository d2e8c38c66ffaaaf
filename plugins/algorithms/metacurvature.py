"""Meta-Curvature: MAML whose inner gradients go through learnt matrices, one for each mode of a weight."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
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
    add_scaled,
    hookimpl,
    query_loss,
    sgd,
    step_size,
    support_grad,
)


def metacurvature(
    problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3
) -> Algorithm:
    """MAML with a learnt preconditioner: the gradient of a weight is multiplied along each of its modes.

    A convolution has three modes, outputs, inputs and space; a matrix two; a bias one, scaled entry by entry. All
    start as the identity, where it is MAML. Park and Oliva 2019, arXiv 1902.03356, section 3.2 (MC2).

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer, for weights and matrices.
    """

    def init() -> Meta:
        weights = problem.init()
        return {"weights": weights, "curvature": {name: identity(weight) for name, weight in weights.items()}}

    def step(meta: Meta, fast: Params, support: Batch, i: int) -> Params:
        grads = support_grad(problem, fast, support, i)
        curved = {name: curve(gradient, meta["curvature"][name]) for name, gradient in grads.items()}
        return add_scaled(fast, curved, -step_size(problem, inner_lr, i))

    inner = sgd(problem, inner_lr)._replace(start=lambda meta, support: meta["weights"], step=step)
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


def modes_of(weight: Tensor) -> tuple[int, ...]:
    """The sizes of a weight's modes: the places of a kernel are one."""
    return tuple(weight.flatten(2).shape if weight.dim() > 2 else weight.shape)


def identity(weight: Tensor) -> list[Tensor]:
    """The unit matrices of a weight's modes; ones for a bias."""
    if weight.dim() < 2:
        return [torch.ones_like(weight)]
    return [torch.eye(size, dtype=weight.dtype, device=weight.device) for size in modes_of(weight)]


def curve(gradient: Tensor, matrices: list[Tensor]) -> Tensor:
    """The gradient of a weight, multiplied along each mode by its matrix."""
    if gradient.dim() < 2:
        return matrices[0] * gradient
    tensor = gradient.reshape(modes_of(gradient))
    for mode, matrix in enumerate(matrices):
        tensor = torch.tensordot(tensor, matrix, dims=([mode], [1])).movedim(-1, mode)
    return tensor.reshape(gradient.shape)


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"metacurvature": metacurvature}


@hookimpl
def register_recipes() -> PackageRecipes:
    """MAML's settings, which it builds on, and no more test steps than step sizes were learnt for."""
    return {
        ("sinusoid", "*"): {"metacurvature": {"test_steps": 1}},
        ("mini-imagenet", "*"): {"metacurvature": {"test_steps": 5}},
    }
