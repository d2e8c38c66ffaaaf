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
    Share,
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
    test_batch_size: Annotated[int, Range(ge=0)] = 0,
    outer_lr: Rate = 1.0,
    final_share: Share = 0.0,
) -> Algorithm:
    """Reptile with an outer step that decays linearly; trains on a task's support and query together.

    Nichol, Achiam and Schulman 2018, arXiv 1803.02999, Algorithm 2; it needs no split of the task (section 4). The
    authors' code shuffles a task's points before it takes minibatches of them; here they keep their order, in which
    every minibatch has each class as often.

    Args:
        inner_optimizer: Gradient descent, or Adam without momentum, whose second moments start at zero for each
            task, so that its first step moves every weight by `inner_lr` (the authors' code keeps them over tasks
            and into the test).
        inner_lr: Step size of the inner optimizer.
        inner_steps: Inner steps on a task in training.
        batch_size: Points of the minibatch that an inner step takes in training; 0 takes all of them.
        test_batch_size: The same in validation and test; 0 takes `batch_size`.
        outer_lr: Share of the way to the adapted weights that the first update goes.
        final_share: What is left of `outer_lr` at the last update: nothing in the paper.
    """
    make = {"sgd": sgd, "adam": adam}[inner_optimizer]
    inner = make(problem, inner_lr, batch_size)

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        points = map_tree(lambda support, query: torch.cat([support, query]), task.support, task.query)
        fast = unroll(inner, meta, points, inner_steps)
        end = fast["weights"] if inner_optimizer == "adam" else fast
        return problem.loss(end, points), map_tree(torch.sub, meta, end)

    return Algorithm(
        init=problem.init,
        inner=make(problem, inner_lr, test_batch_size or batch_size),
        meta_grad=meta_grad,
        optimizer=partial(SGD, lr=outer_lr),
        schedule=lambda progress: 1 - (1 - final_share) * progress,
    )


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"reptile": reptile}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Its outer rate is a share of the way to where tasks end, unlike any other algorithm's: no family's fits it.

    Colour images: arXiv 1803.02999, appendix A, for mini-ImageNet, on the suite's own shots (its training has 15 a
    class), with the batch of the test from the authors' commands; a quick run takes steps ten times as large. It
    decays as the paper does: on glyphs the whole step to the end has 60.8%, and the decay 62.7%.
    """
    images = {
        "inner_optimizer": "adam",
        "inner_lr": 1e-3,
        "inner_steps": 8,
        "batch_size": 10,
        "test_batch_size": 15,
        "test_steps": 50,
    }
    return {
        ("*", "*"): {"reptile": {"outer_lr": 1.0}},
        ("mini-imagenet", "*"): {"reptile": {**images, "meta_batch_size": 5}},
        ("mini-imagenet", "paper"): {"reptile": {"updates": 100_000}},
        ("mini-imagenet", "quick"): {"reptile": {"inner_lr": 1e-2}},
    }
