"""UNICORN-MAML: one meta-learnt vector starts the head of every class, so that labels are mere names."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    Meta,
    PackageRecipes,
    Params,
    Problem,
    Rate,
    Steps,
    hookimpl,
    query_loss,
    sgd,
)
from metabench_plugins.algorithms.embeddings import body_of, linear_head, ways_of


def unicorn(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 5, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML, second order, whose head starts with the same weights and bias for each class.

    Ye and Chao 2022, arXiv 2106.16245, section 5 (UNICORN-MAML). The first step moves the head alone, as equal heads
    pass no gradient on, so it takes more than one. The authors start from a pre-trained ResNet-12, halve the
    temperature of logits, and do not differentiate the inner gradients.

    Args:
        inner_lr: Step size of the inner loop, which moves body and head.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    ways = ways_of(problem)
    whole = body_of(problem)
    names = linear_head(problem, ways)

    def init() -> Meta:
        initial = problem.init()
        return {"body": whole.init(), "head": {name: initial[name][0] for name in names}}

    def start(meta: Meta, support: Batch) -> Params:
        body: Params = meta["body"]
        return body | {name: row.expand(ways, *row.shape) for name, row in meta["head"].items()}

    inner = sgd(problem, inner_lr)._replace(start=start)
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"unicorn": unicorn}


@hookimpl
def register_recipes() -> PackageRecipes:
    """The authors' commands for mini-ImageNet with 1 shot: 5 steps of 0.1, one task an update, 100 x 100 updates."""
    images = {"inner_lr": 0.1, "inner_steps": 5, "test_steps": 5}
    return {
        ("omniglot", "*"): {"unicorn": {"inner_steps": 5, "test_steps": 5}},
        ("mini-imagenet", "*"): {"unicorn": images},
        ("mini-imagenet", "paper"): {"unicorn": {"meta_batch_size": 1, "updates": 10_000}},
    }
