"""Conditional neural processes: a code of the support set, and a network that reads it. No gradient adapts them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    NotApplicableError,
    Problem,
    Rate,
    Size,
    hookimpl,
    query_loss,
)
from metabench_plugins.algorithms.embeddings import body_of, class_means, refuse_policies, ways_of
from metabench_plugins.algorithms.networks import Layers, draw_layers, run


def cnp(problem: Problem, *, outer_lr: Rate = 1e-3, width: Size = 128) -> Algorithm:
    """The decoder's outputs of a query point and the code of the support set; the same at every inner step.

    Garnelo et al. 2018, arXiv 1807.01613, section 2. Regression (section 4.1): the code is the mean of the encoder's
    over the points (x, y); it minimises the suite's loss and predicts no variance. Classification (section 4.3): the
    encoder is the model without its head, and the code the class means side by side, read with the query's features.

    Args:
        outer_lr: Learning rate of Adam, the outer optimizer.
        width: Units of each hidden layer; of the code too in regression.
    """
    refuse_policies(problem)
    init, inner = (classifier if problem.ways else regressor)(problem, width)
    return Algorithm(init, inner, query_loss(problem, inner, 0), optimizer=partial(Adam, lr=outer_lr))


def regressor(problem: Problem, width: int) -> tuple[Callable[[], Meta], InnerLoop]:
    """Of vectors x (s, inputs) and targets y (s, outputs), as many as the model's first and last layers have."""
    weights = problem.init()
    first, outputs = next(iter(weights.values())), len(weights[problem.head[-1]])
    if first.dim() != 2:
        raise NotApplicableError("it regresses from vectors, and the model's first layer is not linear")
    inputs = first.shape[1]

    def init() -> Meta:
        generator = problem.generator("cnp")
        encoder = draw_layers((inputs + outputs, width, width, width), generator, first)
        return {"encoder": encoder} | decoder((inputs, width, width, outputs), generator, first)

    def start(meta: Meta, support: Batch) -> Tensor:
        return run(meta["encoder"], torch.cat([support.x, support.y], 1)).mean(0)

    return init, InnerLoop(start, lambda meta, code, support, i: code, decode)


def classifier(problem: Problem, width: int) -> tuple[Callable[[], Meta], InnerLoop]:
    """Of what the model's body embeds."""
    ways, body = ways_of(problem), body_of(problem)
    like = problem.init()[problem.head[0]]
    size = like.shape[1]

    def init() -> Meta:
        return {"body": body.init()} | decoder((size, ways * size, width, ways), problem.generator("cnp"), like)

    def start(meta: Meta, support: Batch) -> Tensor:
        return class_means(body.apply(meta["body"], support.x), support.y, ways).flatten()

    def predict(meta: Meta, code: Tensor, x: Tensor) -> Tensor:
        return decode(meta, code, body.apply(meta["body"], x))

    return init, InnerLoop(start, lambda meta, code, support, i: code, predict)


def decoder(sizes: tuple[int, int, int, int], generator: Generator, like: Tensor) -> dict[str, Layers]:
    """Layers that read a point and a code, each of so many numbers, through one of a width, and give outputs."""
    point, code, width, outputs = sizes
    widths = {"point": (point, width), "code": (code, width), "decoder": (width, width, outputs)}
    return {name: draw_layers(each, generator, like) for name, each in widths.items()}


def decode(meta: Meta, code: Tensor, x: Tensor) -> Tensor:
    """The outputs (q, ...) for points x (q, ...): the first layer is of point and code side by side, in two parts."""
    hidden = run(meta["point"], x) + run(meta["code"], code[None])
    return run(meta["decoder"], torch.relu(hidden))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"cnp": cnp}
