"""Bayesian MAML: a few particles adapt together by Stein's method, and their mean predicts."""

from __future__ import annotations

import math
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
    Params,
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

Particles = list[Params]


def bmaml(
    problem: Problem,
    *,
    inner_lr: Rate = 0.01,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    particles: Size = 3,
    repulsion: Rate = 1e-3,
) -> Algorithm:
    """MAML with several sets of initial weights that adapt by Stein variational gradient descent.

    Yoon et al. 2018, arXiv 1806.03836, section 3 (BMAML), by Algorithm 1 of Liu and Wang 2016, arXiv 1608.04471. It
    minimises the query loss of the mean prediction (of probabilities, for classes), the paper a chaser loss.
    The first particle starts as MAML does, the others at random with each tensor's deviation; one particle is MAML.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        particles: Sets of weights, each of which costs what MAML's one does.
        repulsion: Weight of the term that drives particles apart, beside that of the mean support loss.
    """

    def init() -> Meta:
        weights, generator = problem.init(), problem.generator("bmaml")

        def another(weight: Tensor) -> Tensor:
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            return weight.mean() + weight.std(correction=0) * noise

        return [weights, *({name: another(w) for name, w in weights.items()} for _ in range(particles - 1))]

    def step(meta: Particles, fast: Particles, support: Batch, i: int) -> Particles:
        part = minibatch(support, problem.step_points, i)
        grads = [grad(problem.loss)(each, part) for each in fast]
        places = torch.stack([flat(each) for each in fast])
        apart = (places[:, None] - places).square().sum(2)
        width = apart.sum() / (particles * max(particles - 1, 1)) / math.log(particles + 1) + 1e-12
        near = torch.exp(-apart / width)  # symmetric, ones on its diagonal
        push = (2 / width) * (near.sum(1, keepdim=True) * places - near @ places)
        moves = (near @ torch.stack([flat(each) for each in grads]) - repulsion * push) / particles
        moved = places - step_size(problem, inner_lr, i) * moves
        return [shaped(row, each) for row, each in zip(moved, fast)]

    def predict(meta: Particles, fast: Particles, x: Tensor) -> Tensor:
        outputs = torch.stack([problem.apply(each, x) for each in fast])
        if problem.ways is None:
            return outputs.mean(0)
        return outputs.log_softmax(-1).logsumexp(0) - math.log(particles)

    inner = InnerLoop(lambda meta, support: meta, step, predict)
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


def flat(weights: Params) -> Tensor:
    """All weights in one row."""
    return torch.cat([weight.reshape(-1) for weight in weights.values()])


def shaped(row: Tensor, like: Params) -> Params:
    """The weights of one row, in the shapes of others."""
    parts = torch.split(row, [weight.numel() for weight in like.values()])
    return {name: part.view_as(weight) for part, (name, weight) in zip(parts, like.items())}


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"bmaml": bmaml}


@hookimpl
def register_recipes() -> PackageRecipes:
    """On sinusoids as many steps in the test as in training, one, as the authors' code has it (jsikyoon/bmaml).

    What is learnt for one step is too steep for more: a second one made the error larger, and a tenth infinite.
    """
    return {("sinusoid", "*"): {"bmaml": {"inner_steps": 1, "test_steps": 1}}}
