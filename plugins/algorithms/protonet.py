"""Prototypical networks: the class whose mean embedding is nearest. No gradient step adapts them."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.optim import Adam

from metabench.api import Algorithm, AlgorithmFactory, Batch, InnerLoop, Params, Problem, Rate, hookimpl, query_loss
from metabench_plugins.algorithms.embeddings import body_of, class_means, ways_of


def protonet(problem: Problem, *, outer_lr: Rate = 1e-3) -> Algorithm:
    """An embedding learnt so that points lie near the mean of their class; the same at every inner step.

    The logit of a class is minus the squared Euclidean distance to its prototype. Snell, Swersky and Zemel 2017,
    arXiv 1703.05175, section 2; its trick of training on more ways than in the test is left to the suite. The
    authors' code embeds support and query in one batch, whose statistics BatchNorm then uses; here each has its own.

    Args:
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    ways = ways_of(problem)
    body = body_of(problem)

    def start(meta: Params, support: Batch) -> Tensor:
        prototypes: Tensor = class_means(body.apply(meta, support.x), support.y, ways)
        return prototypes

    def predict(meta: Params, prototypes: Tensor, x: Tensor) -> Tensor:
        logits: Tensor = -(body.apply(meta, x)[:, None] - prototypes).square().sum(2)
        return logits

    inner = InnerLoop(start, lambda meta, prototypes, support, i: prototypes, predict)
    objective = query_loss(problem, inner, 0)
    return Algorithm(body.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"protonet": protonet}
