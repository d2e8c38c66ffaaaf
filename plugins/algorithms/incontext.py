"""In-context learning: a transformer reads support and query points, and its outputs are the predictions."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    Problem,
    Rate,
    Size,
    hookimpl,
    map_tree,
    query_loss,
)
from metabench_plugins.algorithms.embeddings import features_of, one_hot, refuse_policies
from metabench_plugins.algorithms.networks import Layers, draw_layers, run

HEADS = 4


def incontext(problem: Problem, *, outer_lr: Rate = 1e-3, width: Size = 16, blocks: Size = 2) -> Algorithm:
    """A transformer without positions: support points attend to each other, a query point to them; no inner steps.

    The peer that is not gradient-based: Fifty et al. 2024, arXiv 2310.10971 (CAML), and for tables Hollmann et al.
    2023, arXiv 2207.01848 (TabPFN), both pre-trained on far more than a suite's tasks; here it is trained on those
    alone, and the model's body, if it has one, with it. Tokens are a point's features and its target, zeros for a
    query point. Attention has four heads, whose keys and queries start alike: a point asks those that are like it.

    Args:
        outer_lr: Learning rate of Adam, the outer optimizer.
        width: Numbers of a token in each head.
        blocks: Blocks of attention and hidden layer.
    """
    refuse_policies(problem)
    classes, size = bool(problem.ways), HEADS * width
    body, features = features_of(problem) if classes else ({}, lambda weights, x: x.flatten(1))
    weights = problem.init()
    first = weights[problem.head[0]] if classes else next(iter(weights.values()))
    inputs, outputs = first.shape[1], problem.ways or len(weights[problem.head[-1]])

    def init() -> Meta:
        draw = partial(draw_layers, generator=problem.generator("in-context"), like=first)
        block = {
            "ask": (size, size),
            "values": (size, size),
            "mix": (size, size),
            "hidden": (size, 2 * size, size),
        }
        drawn = [{name: draw(widths) for name, widths in block.items()} for _ in range(blocks)]
        return {
            "body": body,
            "point": draw((inputs, size)),
            "target": draw((outputs, size)),
            "blocks": [made | {"keys": map_tree(torch.clone, made["ask"])} for made in drawn],
            "out": draw((size, size, outputs)),
        }

    def start(meta: Meta, support: Batch) -> list[Tensor]:
        y = one_hot(support.y, outputs, first) if classes else support.y
        tokens = run(meta["point"], features(meta["body"], support.x)) + run(meta["target"], y)
        states = []
        for block in meta["blocks"]:
            states.append(tokens)
            tokens = attend(block, tokens, tokens)
        return states

    def predict(meta: Meta, states: list[Tensor], x: Tensor) -> Tensor:
        tokens = run(meta["point"], features(meta["body"], x))
        for block, support in zip(meta["blocks"], states):
            tokens = attend(block, tokens, support)
        return run(meta["out"], normal(tokens))

    inner = InnerLoop(start, lambda meta, states, support, i: states, predict)
    return Algorithm(init, inner, query_loss(problem, inner, 0), optimizer=partial(Adam, lr=outer_lr))


def attend(block: dict[str, Layers], tokens: Tensor, support: Tensor) -> Tensor:
    """The tokens (q, size) after each has asked the support points (s, size), and a hidden layer."""
    asked = run(block["ask"], normal(tokens)).view(len(tokens), HEADS, -1).transpose(0, 1)
    keys, values = (
        run(block[name], normal(support)).view(len(support), HEADS, -1).transpose(0, 1) for name in ("keys", "values")
    )
    share = (asked @ keys.mT / asked.shape[-1] ** 0.5).softmax(-1)
    tokens = tokens + run(block["mix"], (share @ values).transpose(0, 1).flatten(1))
    return tokens + run(block["hidden"], normal(tokens))


def normal(tokens: Tensor) -> Tensor:
    """Each token with mean 0 and deviation 1."""
    return nn.functional.layer_norm(tokens, tokens.shape[1:])


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"in-context": incontext}
