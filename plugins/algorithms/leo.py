"""LEO: the inner loop moves a low-dimensional code of each class, from which a decoder makes the head."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    PackageRecipes,
    Problem,
    Rate,
    Size,
    Steps,
    grad,
    hookimpl,
    minibatch,
    query_loss,
    step_size,
)
from metabench_plugins.algorithms.embeddings import class_means, features_of, ways_of
from metabench_plugins.algorithms.networks import draw_layers, run


def leo(
    problem: Problem, *, inner_lr: Rate = 1.0, inner_steps: Steps = 5, outer_lr: Rate = 1e-3, latents: Size = 64
) -> Algorithm:
    """LEO, deterministic: gradient steps on codes (ways, latents), of which a linear decoder makes the head.

    Rusu et al. 2019, arXiv 1807.05960, section 2. A linear encoder and a relation network, the mean over all pairs of
    support points, give each class its first code. Codes and weights are their distributions' means, as in the
    authors' test; left out are sampling with its penalties, dropout and the fine-tuning of the head after the code.
    The body is learnt too, where the model has one; on `features` a linear model has none, as in the paper.

    Args:
        inner_lr: Step size of the codes before meta-training, learnt for each dimension. The authors' 1.0 is of the
            sum of the support losses: 5 of their mean with 5 ways and 1 shot.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        latents: Dimensions of a code.
    """
    ways = ways_of(problem)
    body, features = features_of(problem)
    like = problem.init()[problem.head[0]]

    def init() -> Meta:
        generator, size = problem.generator("leo"), like.shape[1]
        return {
            "body": body,
            "encoder": draw_layers((size, latents), generator, like),
            "relation": draw_layers((2 * latents, 2 * latents, 2 * latents, latents), generator, like),
            "decoder": draw_layers((latents, size), generator, like),
            "rates": like.new_full((latents,), inner_lr),
        }

    def start(meta: Meta, support: Batch) -> Tensor:
        codes = run(meta["encoder"], features(meta["body"], support.x))
        points = len(codes)
        pairs = torch.cat([codes[:, None].expand(-1, points, -1), codes.expand(points, -1, -1)], 2)
        return class_means(run(meta["relation"], pairs).mean(1), support.y, ways)

    def predict(meta: Meta, code: Tensor, x: Tensor) -> Tensor:
        return features(meta["body"], x) @ run(meta["decoder"], code).T

    def step(meta: Meta, code: Tensor, support: Batch, i: int) -> Tensor:
        part = minibatch(support, problem.step_points, i)
        gradient = grad(lambda code: problem.criterion(lambda x: predict(meta, code, x), part))(code)
        moved: Tensor = code - step_size(problem, 1.0, i) * meta["rates"] * gradient
        return moved

    inner = InnerLoop(start, step, predict)
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"leo": leo}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Steps of arXiv 1807.05960, section 4.2, whose rates no other algorithm's fit; the rest is the suite's."""
    return {("*", "*"): {"leo": {"inner_lr": 1.0, "inner_steps": 5, "test_steps": 5}}}
