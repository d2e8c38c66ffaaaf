"""ALFA: a small network gives each inner step its step sizes and weight decays, from weights and gradients."""

from __future__ import annotations

from typing import Any

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
    Params,
    Problem,
    Rate,
    Size,
    hookimpl,
    query_loss,
    step_size,
    support_grad,
    value_and_grad,
)
from metabench_plugins.algorithms.networks import draw_layers, means, run
from metabench_plugins.algorithms.norms import norm_names


def alfa(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Size = 1,
    outer_lr: Rate = 1e-3,
    decay: Rate = 5e-4,
    rates_lr: Rate = 0.0,
) -> Algorithm:
    """ALFA: w <- (1 - b) w - a g, with a and b for each tensor and step from a network of the means of w and g.

    Baik et al. 2020, arXiv 2011.00209, section 3.2 and Algorithm 1: a network of two layers, times a learnt step size
    and decay of each tensor and step. Its last layer starts at zero, and the network gives 1 + its first half and its
    second half, so that at first it is MAML; the authors' code draws that layer. As there, BatchNorm is not adapted,
    and the means of gradients are taken as they are: the outer gradient does not go through them.

    Args:
        inner_lr: Learnt step sizes before meta-training.
        inner_steps: Inner steps in training; steps after the last take its step sizes.
        outer_lr: Learning rate of Adam, the outer optimizer.
        decay: Learnt weight decays before meta-training, in step sizes.
        rates_lr: Adam's learning rate for the step sizes, the decays and the network; 0 takes `outer_lr`, as in the
            authors' code.
    """
    still = norm_names(problem.module())

    def init() -> Meta:
        weights = problem.init()
        moving = [name for name in weights if name not in still]
        any_weight, count = next(iter(weights.values())), len(moving)
        rates = any_weight.new_full((inner_steps, count), inner_lr)
        network = draw_layers((2 * count,) * 3, problem.generator("alfa"), any_weight, last=0.0)
        return {"weights": weights, "rates": rates, "decays": decay * rates, "network": network}

    def step(meta: Meta, fast: Params, support: Batch, i: int) -> Params:
        row = min(i, inner_steps - 1)
        grads = support_grad(problem, fast, support, i, meta["weights"])
        longer, shrink = run(meta["network"], torch.cat([means(fast), means(grads).detach()])).chunk(2)
        rates = step_size(problem, 1.0, i) * meta["rates"][row] * (1 + longer)
        keep = 1 - meta["decays"][row] * shrink
        return {name: keep[n] * fast[name] - rates[n] * grads[name] for n, name in enumerate(fast)}

    inner = InnerLoop(
        start=lambda meta, support: {name: w for name, w in meta["weights"].items() if name not in still},
        step=step,
        predict=lambda meta, fast, x: problem.apply(meta["weights"] | fast, x),
    )

    def optimizer(leaves: list[Tensor]) -> Adam:
        weights = len(problem.init())  # they come first in Meta
        groups: list[dict[str, Any]] = [{"params": leaves[:weights]}, {"params": leaves[weights:]}]
        groups[1]["lr"] = rates_lr or outer_lr
        return Adam(groups, lr=outer_lr)

    direction = value_and_grad(query_loss(problem, inner, inner_steps))
    return Algorithm(init, inner, meta_grad=direction, optimizer=optimizer)


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"alfa": alfa}


@hookimpl
def register_recipes() -> PackageRecipes:
    """The authors' alfa+maml.json, for mini-ImageNet (with 48 filters), and on other suites MAML's step sizes.

    They have no sinusoids. There the rate of what is beside the weights is that of MAML++'s step sizes: at 1e-3,
    a tenth of the first step size, they grow in training on 10 points until tasks of 5 points diverge.
    """
    steps = {"inner_steps": 5, "test_steps": 5}
    return {
        ("sinusoid", "*"): {"alfa": {**steps, "rates_lr": 3e-5}},
        ("omniglot", "*"): {"alfa": steps},
        ("mini-imagenet", "*"): {"alfa": steps},
        ("mini-imagenet", "paper"): {"alfa": {"inner_lr": 0.01, "meta_batch_size": 2, "updates": 50_000}},
    }
