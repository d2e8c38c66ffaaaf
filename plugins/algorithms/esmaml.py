"""ES-MAML: MAML's gradient estimated from losses alone, at initial weights that are disturbed at random."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    PackageRecipes,
    Params,
    Positive,
    Problem,
    Rate,
    Size,
    Steps,
    Task,
    add_scaled,
    hookimpl,
    map_tree,
    query_loss,
    sgd,
)


def esmaml(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    directions: Size = 4,
    sigma: Positive = 0.05,
) -> Algorithm:
    """MAML by evolution strategies: differences of the adapted query loss between both ends of random directions.

    Song et al. 2020, arXiv 1910.01215, section 3 (zero-order ES-MAML, antithetic); it adapts by evolution strategies
    too, as returns have no gradient, where here inner steps are gradients. Nothing is differentiated through them, so
    memory does not grow with the steps. Directions are drawn anew for each update, the same for all of its tasks.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        directions: Directions of an update; each costs two adaptations.
        sigma: Standard deviation of what is added to each weight.
    """
    inner = sgd(problem, inner_lr)
    objective = query_loss(problem, inner, inner_steps)
    seed = problem.generator("es").initial_seed()

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        drawn = np.random.default_rng([seed, int(progress * 2**40)])  # a pure function of progress
        direction, losses = map_tree(torch.zeros_like, meta), []
        for _ in range(directions):
            noise = map_tree(lambda weight: torch.from_numpy(drawn.standard_normal(weight.shape)).to(weight), meta)
            ahead, behind = (objective(add_scaled(meta, noise, s), task, progress) for s in (sigma, -sigma))
            direction = add_scaled(direction, noise, (ahead - behind) / (2 * sigma * directions))
            losses += [ahead, behind]
        return torch.stack(losses).mean(), direction

    return Algorithm(problem.init, inner, meta_grad=meta_grad, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"es-maml": esmaml}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Settings that were tried on sinusoids; no paper has supervised tasks."""
    return {("*", "*"): {"es-maml": {"directions": 16}}}
