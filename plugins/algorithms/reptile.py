"""Reptile: move the initial weights towards the weights that each task ends at."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Meta, Problem, Task, adam, hookimpl, map_tree, sgd, unroll


def reptile(
    problem: Problem,
    *,
    inner_optimizer: Literal["sgd", "adam"] = "sgd",
    inner_lr: float = 0.02,
    inner_steps: int = 5,
    batch_size: int = 0,
    outer_lr: float = 1.0,
) -> Algorithm:
    """Reptile with an outer step that decays linearly to zero; trains on a task's support and query together.

    The inner loop takes minibatches of `batch_size` points (0: all of them), by gradient descent or by Adam
    without momentum, whose second moments begin anew for each task (the authors' code keeps them).
    Nichol, Achiam and Schulman 2018, arXiv 1803.02999, Algorithm 2; it needs no split of the task (section 4).
    """
    loops = {"sgd": sgd, "adam": adam}
    inner = loops[inner_optimizer](problem, inner_lr, batch_size)

    def meta_grad(meta: Meta, task: Task, progress: float) -> tuple[Tensor, Meta]:
        every = map_tree(lambda support, query: torch.cat([support, query]), task.support, task.query)
        end = inner.weights(unroll(inner, meta, Batch(*every), inner_steps))
        return problem.loss(end, Batch(*every)), map_tree(torch.sub, meta, end)

    return Algorithm(
        init=problem.init,
        start=inner.start,
        step=inner.step,
        predict=inner.predict,
        meta_grad=meta_grad,
        optimizer=partial(torch.optim.SGD, lr=outer_lr),
        schedule=lambda progress: 1 - progress,
    )


@hookimpl
def register_algorithms():
    return {"reptile": reptile}


@hookimpl
def register_recipes():
    """Its outer rate is a share of the way to where tasks end, unlike any other algorithm's: no family's fits it."""
    return {("*", "*"): {"reptile": {"outer_lr": 1.0}}}
