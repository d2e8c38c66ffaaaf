"""R2-D2: an embedding on which ridge regression, in closed form, is the whole adaptation."""

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
    Positive,
    Problem,
    Rate,
    hookimpl,
    query_loss,
)
from metabench_plugins.algorithms.embeddings import body_of, one_hot


def r2d2(problem: Problem, *, ridge: Positive = 1.0, outer_lr: Rate = 1e-3) -> Algorithm:
    """Ridge regression of the targets on the body's features; the gradient goes through its solution.

    Classes are regressed as zeros and ones. The logarithm of the ridge, and the scale and shift that make outputs of
    the regressed values, are learnt too. The same at every inner step. Bertinetto et al. 2019, arXiv 1805.08136,
    section 3. The authors' code divides features and targets by the root of the number n of points and does not
    learn the ridge, 50: that is 50 n of ours. Its outputs are scaled by 10 at first on Omniglot, its network is wider
    (96 to 512 filters, leaky ReLU, the last two layers joined, dropout), and support and query share a batch.

    Args:
        ridge: The weight of the penalty before meta-training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    body = body_of(problem)

    def init() -> Meta:
        weights = body.init()
        one = next(iter(weights.values())).new_ones(())
        return {"body": weights, "log_ridge": (ridge * one).log(), "scale": one, "shift": 0 * one}

    def features(meta: Meta, x: Tensor) -> Tensor:
        embedded = body.apply(meta["body"], x)
        return torch.cat([embedded, torch.ones_like(embedded[:, :1])], 1)

    def start(meta: Meta, support: Batch) -> Tensor:
        x = features(meta, support.x)
        y = one_hot(support.y, problem.ways, x) if problem.ways else support.y
        gram = x @ x.T + meta["log_ridge"].exp() * torch.eye(len(x), dtype=x.dtype, device=x.device)
        solved: Tensor = torch.linalg.solve(gram, y)  # (points, points) instead of (features, features): Woodbury
        return x.T @ solved

    inner = InnerLoop(
        start=start,
        step=lambda meta, head, support, i: head,
        predict=lambda meta, head, x: meta["scale"] * (features(meta, x) @ head) + meta["shift"],
    )
    return Algorithm(init, inner, query_loss(problem, inner, 0), optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"r2d2": r2d2}


@hookimpl
def register_recipes() -> PackageRecipes:
    """The rate of arXiv 1805.08136, section 4.2, without its halving; the suite's own ways and network, and the ridge
    of the default."""
    rate = {"r2d2": {"outer_lr": 5e-3}}
    return {("omniglot", "*"): rate, ("mini-imagenet", "*"): rate}
