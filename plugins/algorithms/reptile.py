"""Reptile: move the initial weights towards the weights that each task ends at."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import SGD

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    PackageRecipes,
    Params,
    Problem,
    Range,
    Rate,
    Steps,
    Task,
    adam,
    hookimpl,
    map_tree,
    sgd,
    unroll,
)


def reptile(
    problem: Problem,
    *,
    inner_optimizer: Literal["sgd", "adam"] = "sgd",
    inner_lr: Rate = 0.02,
    inner_steps: Steps = 5,
    batch_size: Annotated[int, Range(ge=0)] = 0,
    outer_lr: Rate = 1.0,
) -> Algorithm:
    """Reptile with an outer step that decays linearly to zero; trains on a task's support and query together.

    Nichol, Achiam and Schulman 2018, arXiv 1803.02999, Algorithm 2; it needs no split of the task (section 4).

    Args:
        inner_optimizer: Gradient descent, or Adam without momentum, whose second moments start at zero for each
            task (the authors' code keeps them).
        inner_lr: Step size of the inner optimizer.
        inner_steps: Inner steps on a task in training.
        batch_size: Points of the minibatch that an inner step takes; 0 takes all of them.
        outer_lr: Share of the way to the adapted weights that the first update goes.
    """
    inner = {"sgd": sgd, "adam": adam}[inner_optimizer](problem, inner_lr, batch_size)

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        points = map_tree(lambda support, query: torch.cat([support, query]), task.support, task.query)
        fast = unroll(inner, meta, points, inner_steps)
        end = fast["weights"] if inner_optimizer == "adam" else fast
        return problem.loss(end, points), map_tree(torch.sub, meta, end)

    return Algorithm(
        init=problem.init,
        inner=inner,
        meta_grad=meta_grad,
        optimizer=partial(SGD, lr=outer_lr),
        schedule=lambda progress: 1 - progress,
    )


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"reptile": reptile}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Its outer rate is a share of the way to where tasks end, unlike any other algorithm's: no family's fits it.

    Colour images: arXiv 1803.02999, appendix A, for mini-ImageNet, on the suite's own shots (its training has 15 a
    class); a quick run takes steps ten times as large.
    """
    images = {"inner_optimizer": "adam", "inner_lr": 1e-3, "inner_steps": 8, "batch_size": 10, "test_steps": 50}
    return {
        ("*", "*"): {"reptile": {"outer_lr": 1.0}},
        ("mini-imagenet", "*"): {"reptile": {**images, "meta_batch_size": 5}},
        ("mini-imagenet", "paper"): {"reptile": {"updates": 100_000}},
        ("mini-imagenet", "quick"): {"reptile": {"inner_lr": 1e-2}},
    }
