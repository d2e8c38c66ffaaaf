"""MAML++: MAML made stable by a loss at every inner step, learnt rates and annealing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    PackageRecipes,
    Params,
    Positive,
    Problem,
    Rate,
    Share,
    Size,
    Task,
    hookimpl,
    query_loss,
    step_size,
    support_grad,
    trajectory,
    value_and_grad,
)
from metabench_plugins.algorithms.norms import norm_names

MIN_STEP_WEIGHT = 0.03
"""What is left of the weight of a loss before the last step, while there are such losses: from the code."""


def mamlpp(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Size = 5,
    outer_lr: Positive = 1e-3,
    last_outer_lr: Rate = 1e-5,
    rates_lr: Rate = 0.0,
    multi_step: Share = 0.1,
    first_order: Share = 0.0,
    norm_per_step: bool = True,
) -> Algorithm:
    """MAML++: learnt step sizes by parameter tensor and step, a loss at every step at first, an annealed outer rate.

    Antoniou et al. 2019, arXiv 1810.09502, section 4. Left out: running statistics by step (the authors' code keeps
    but never reads them: BatchNorm uses the current batch), and the ensemble of the best checkpoints.

    Args:
        inner_lr: Every step size before meta-training.
        inner_steps: Inner steps in training, each with its own step sizes; steps after the last take its step sizes.
        outer_lr: Learning rate of Adam, the outer optimizer, at the first update.
        last_outer_lr: That rate at the end; between the two it follows a cosine, which the authors run over 50,000
            updates on Omniglot and, as the two rates are the same, not at all on mini-ImageNet.
        rates_lr: Adam's learning rate for the learnt step sizes; 0 takes `outer_lr`, as in the paper.
        multi_step: Share of the training, from its start, in which the loss is a sum over all steps, weighted equally
            at first and in the end by the last.
        first_order: Share of the training, from its start, in which inner steps are not differentiated: a third in
            the paper, none in the authors' configurations; on sinusoids it makes the step sizes run away.
        norm_per_step: Learn BatchNorm's scale and shift for each step, and do not move them in the inner loop.
    """
    norms = norm_names(problem.module()) if norm_per_step else set()

    def row(by_step: dict[str, Tensor], i: int) -> Params:
        return {name: values[min(i, inner_steps - 1)] for name, values in by_step.items()}

    def init() -> Meta:
        weights = problem.init()
        moving = {name: weight for name, weight in weights.items() if name not in norms}
        return {
            "weights": moving,
            "norms": {name: torch.stack([weights[name]] * inner_steps) for name in weights if name in norms},
            "rates": {name: weight.new_full((inner_steps,), inner_lr) for name, weight in moving.items()},
        }

    def start(meta: Meta, support: Batch) -> Params:
        weights: Params = meta["weights"]
        return weights | row(meta["norms"], 0)

    def step(meta: Meta, fast: Params, support: Batch, i: int, differentiate: bool = True) -> Params:
        norm, rates = row(meta["norms"], i), row(meta["rates"], i)
        with nullcontext() if differentiate else torch.no_grad():
            grads = support_grad(problem, {name: fast[name] for name in rates}, support, i, norm)
        share = step_size(problem, 1.0, i)
        return {name: fast[name] - share * rate * grads[name] for name, rate in rates.items()} | norm

    exact = InnerLoop(start, step, lambda meta, fast, x: problem.apply(fast, x))
    cut = exact._replace(step=partial(step, differentiate=False))

    def objective(meta: Meta, task: Task, progress: float) -> Tensor:
        inner = cut if progress < first_order else exact
        if progress >= multi_step:
            return query_loss(problem, inner, inner_steps)(meta, task, progress)
        _, *path = trajectory(inner, meta, task.support, inner_steps)
        *before, last = [problem.loss(fast, task.query) for fast in path]
        weight = max(1 - progress / multi_step, MIN_STEP_WEIGHT) / inner_steps
        return weight * sum(before) + (1 - weight * len(before)) * last

    def optimizer(leaves: list[Tensor]) -> torch.optim.Optimizer:
        first = len(leaves) - len(init()["rates"])  # they come last in Meta
        groups: list[dict[str, Any]] = [{"params": leaves[:first]}, {"params": leaves[first:]}]
        groups[1]["lr"] = rates_lr or outer_lr
        return torch.optim.Adam(groups, lr=outer_lr)

    return Algorithm(
        init=init,
        inner=exact,
        objective=None if first_order else objective,  # which would claim a gradient that is exact
        meta_grad=value_and_grad(objective),
        optimizer=optimizer,
        schedule=cosine(last_outer_lr / outer_lr),
    )


def cosine(last: float) -> Callable[[float], float]:
    """The schedule from 1 to `last` along half a cosine: Loshchilov and Hutter, arXiv 1608.03983."""
    return lambda progress: last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"maml++": mamlpp}


@hookimpl
def register_recipes() -> PackageRecipes:
    """The authors' configurations for 5 steps, arXiv 1810.09502, which differentiate the inner steps from the start:
    omniglot_maml++-omniglot_1_8_0.1_64_5_0.json and mini-imagenet_maml++-mini-imagenet_1_2_0.01_48_5_0.json. Their
    networks pool, with leaky ReLU, and have 48 filters on mini-ImageNet; the suites' `conv` does not pool.

    A quick run keeps the rate of their first updates: the cosine squeezed into 250 updates costs 18 points on glyphs.
    They have no sinusoids: MAML's rates. The rate of its rates was tried here: at 1e-3 they grow to forty times their
    start and 5-shot tasks diverge.
    """
    steps = {"inner_steps": 5, "test_steps": 5}
    images = {**steps, "first_order": 0.0}
    strokes = {**images, "inner_lr": 0.1, "multi_step": 0.1, "meta_batch_size": 8}
    colour = {**images, "multi_step": 0.15, "last_outer_lr": 1e-3}
    return {
        ("*", "quick"): {"maml++": {"last_outer_lr": 1e-3}},
        ("sinusoid", "*"): {"maml++": {**steps, "rates_lr": 3e-5}},
        ("omniglot", "*"): {"maml++": strokes},
        ("omniglot", "paper"): {"maml++": {"updates": 50_000}},
        ("mini-imagenet", "*"): {"maml++": colour},
        ("mini-imagenet", "paper"): {"maml++": {"inner_lr": 0.01, "meta_batch_size": 2, "updates": 50_000}},
    }
