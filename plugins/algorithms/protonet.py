"""Prototypical networks: the class whose mean embedding is nearest. No gradient step adapts them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Meta, Problem, hookimpl, query_loss
from metabench_plugins.algorithms.embeddings import body_of, class_means, ways_of


def protonet(problem: Problem, *, outer_lr: float = 1e-3) -> Algorithm:
    """An embedding learnt so that points lie near the mean of their class; the same at every inner step.

    The logit of a class is minus the squared Euclidean distance to its prototype. Snell, Swersky and Zemel 2017,
    arXiv 1703.05175, section 2; its trick of training on more ways than in the test is left to the suite.
    """
    ways = ways_of(problem)
    body = body_of(problem)

    def start(meta: Meta, support: Batch) -> Tensor:
        return class_means(body.apply(meta, support.x), support.y, ways)

    def predict(meta: Meta, prototypes: Tensor, x: Tensor) -> Tensor:
        return -(body.apply(meta, x)[:, None] - prototypes).square().sum(2)

    made = Algorithm(
        init=body.init,
        start=start,
        step=lambda meta, prototypes, support, i: prototypes,
        predict=predict,
        optimizer=partial(torch.optim.Adam, lr=outer_lr),
    )
    return made._replace(objective=query_loss(problem, made, 0))


@hookimpl
def register_algorithms():
    return {"protonet": protonet}
