"""L2F: each task forgets part of the initial weights, tensor by tensor, before it adapts."""

from __future__ import annotations

from functools import partial

import torch
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
    grad,
    hookimpl,
    partial_sgd,
    query_loss,
    value_and_grad,
)
from metabench_plugins.algorithms.networks import draw_layers, means, run
from metabench_plugins.algorithms.norms import norm_names


def l2f(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """L2F: MAML from g w rather than w; a network makes g, from 0 to 1 for each tensor, of the support gradients.

    Baik, Hong and Lee 2020, arXiv 1906.05895, section 3 (L2F), as in the authors' code: two layers and a sigmoid, of
    the mean gradient of each tensor at the initial weights, through which the outer gradient does not go. BatchNorm
    is neither attenuated nor adapted.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    still = norm_names(problem.module())
    names = [name for name in problem.init() if name not in still]
    plain = partial_sgd(problem, inner_lr, names)

    def init() -> Meta:
        weights = problem.init()
        any_weight, count = next(iter(weights.values())), len(names)
        return {"weights": weights, "attenuator": draw_layers((count,) * 3, problem.generator("l2f"), any_weight)}

    def start(meta: Meta, support: Batch) -> Params:
        moving = plain.start(meta["weights"], support)
        with torch.no_grad():
            grads = grad(lambda moving: problem.loss(meta["weights"] | moving, support))(moving)
        kept = torch.sigmoid(run(meta["attenuator"], means(grads)))
        return {name: kept[n] * moving[name] for n, name in enumerate(names)}

    inner = plain._replace(
        start=start,
        step=lambda meta, fast, support, i: plain.step(meta["weights"], fast, support, i),
        predict=lambda meta, fast, x: plain.predict(meta["weights"], fast, x),
    )
    direction = value_and_grad(query_loss(problem, inner, inner_steps))
    return Algorithm(init, inner, meta_grad=direction, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"l2f": l2f}


@hookimpl
def register_recipes() -> PackageRecipes:
    """For mini-ImageNet those of ALFA, by the same authors and in the same code; other suites have MAML's.

    The authors test with as many steps as they train with, and so do sinusoids here: further steps lead away, where
    shares of the initial weights were learnt for one; and trained with five, 5-shot tasks diverge.
    """
    return {
        ("sinusoid", "*"): {"l2f": {"inner_steps": 1, "test_steps": 1}},
        ("mini-imagenet", "*"): {"l2f": {"inner_steps": 5, "test_steps": 5}},
        ("mini-imagenet", "paper"): {"l2f": {"inner_lr": 0.01, "meta_batch_size": 2, "updates": 50_000}},
    }
