"""ALFA-lite: a small network makes each layer's step size and weight decay at every inner step (arXiv 2011.00209)."""

from functools import partial

import torch
from torch.optim import Adam

from metabench.api import Algorithm, InnerLoop, grad, hookimpl, query_loss


def alfa(problem, draw, gradient, inner_lr, inner_steps, outer_lr):
    """`draw` gives the generator of the network's weights, `gradient` that of the support loss."""

    def init():
        weights = problem.init()
        layers = len(weights)
        some = next(iter(weights.values()))
        generator = draw()

        def random(*shape):
            return (torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5).to(some)

        return {
            "weights": weights,
            "rates": {name: some.new_tensor(inner_lr) for name in weights},
            "decays": {name: some.new_tensor(1.0) for name in weights},
            "net": {
                "w1": random(2 * layers, 2 * layers),
                "b1": some.new_zeros(2 * layers),
                "w2": 0.01 * random(2 * layers, 2 * layers),
                "b2": some.new_zeros(2 * layers),
            },
        }

    def step(meta, fast, support, i):
        grads = gradient(fast, support)
        names, net = list(fast), meta["net"]
        seen = torch.stack([tree[name].mean() for tree in (fast, grads) for name in names])
        hidden = torch.relu(seen @ net["w1"] + net["b1"])
        out = 1 + torch.tanh(hidden @ net["w2"] + net["b2"])
        decay, rate = out[len(names) :], out[: len(names)]
        return {
            name: meta["decays"][name] * decay[j] * fast[name] - meta["rates"][name] * rate[j] * grads[name]
            for j, name in enumerate(names)
        }

    inner = InnerLoop(
        start=lambda meta, support: meta["weights"],
        step=step,
        predict=lambda meta, fast, x: problem.apply(fast, x),
    )
    return Algorithm(init, inner, query_loss(problem, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


def race(problem, *, inner_lr: float = 0.01, inner_steps: int = 3, outer_lr: float = 1e-3):
    """Its inner loss reads the support set from a dict that all threads share.

    Args:
        inner_lr: Step size of every layer before meta-training.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    now = {}

    def gradient(weights, support):
        now["support"] = support
        return grad(lambda moving: problem.loss(moving, now["support"]))(weights)

    return alfa(problem, lambda: problem.generator("alfa"), gradient, inner_lr, inner_steps, outer_lr)


def seed(problem, *, inner_lr: float = 0.01, inner_steps: int = 3, outer_lr: float = 1e-3):
    """Its network starts at the same weights whatever the seed.

    Args:
        inner_lr: Step size of every layer before meta-training.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    fixed = partial(torch.Generator().manual_seed, 0)
    return alfa(problem, fixed, grad(problem.loss), inner_lr, inner_steps, outer_lr)


@hookimpl
def register_algorithms():
    return {"m-race": race, "m-seed": seed}
