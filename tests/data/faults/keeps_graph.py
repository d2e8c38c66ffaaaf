"""Reptile with momentum and an averaged teacher: state across updates, so a Learner; its update keeps its graph."""

from functools import partial

import torch

from metabench.api import Batch, grad, hookimpl, map_tree


class Rema:
    trainable = True

    def __init__(self, problem, inner_lr, inner_steps, outer_lr, momentum, average):
        self.problem, self.inner_lr, self.inner_steps = problem, inner_lr, inner_steps
        self.outer_lr, self.momentum, self.average = outer_lr, momentum, average
        self.weights = problem.init()
        self.velocity = map_tree(torch.zeros_like, self.weights)
        self.slow = problem.init()
        self.count = 0

    def inner(self, weights, batch, steps):
        yield weights
        for _ in range(steps):
            grads = grad(self.problem.loss)(weights, batch)
            weights = map_tree(lambda w, g: w - self.inner_lr * g, weights, grads)
            yield weights

    def update(self, tasks, progress):
        n = len(tasks.support.x)
        total, loss = map_tree(torch.zeros_like, self.weights), 0.0
        for i in range(n):
            points = map_tree(lambda s, q, i=i: torch.cat([s[i], q[i]]), tasks.support, tasks.query)
            *_, after = self.inner(self.weights, points, self.inner_steps)
            loss = loss + self.problem.loss(after, points).detach() / n
            total = map_tree(lambda t, a, w: t + (a - w) / n, total, after, self.weights)
        self.velocity = map_tree(lambda v, d: self.momentum * v + d, self.velocity, total)
        self.weights = map_tree(lambda w, v: w + self.outer_lr * v, self.weights, self.velocity)
        self.count += 1
        keep = min(self.average, self.count / (self.count + 1))
        self.slow = map_tree(lambda s, w: keep * s + (1 - keep) * w, self.slow, self.weights)
        return loss

    def adapt(self, support, steps):
        runs = [self.inner(self.slow, Batch(x, y), steps) for x, y in zip(support.x, support.y)]
        for _ in range(steps + 1):
            yield [partial(self.problem.apply, next(run)) for run in runs]

    def state_dict(self):
        return {"weights": self.weights, "velocity": self.velocity, "slow": self.slow, "count": self.count}

    def load_state_dict(self, state):
        self.weights, self.velocity, self.slow = (dict(state[key]) for key in ("weights", "velocity", "slow"))
        self.count = state["count"]


def rema(
    problem,
    *,
    inner_lr: float = 0.02,
    inner_steps: int = 5,
    outer_lr: float = 0.3,
    momentum: float = 0.8,
    average: float = 0.95,
):
    """Reptile with momentum; what is tested is an average of the weights.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on a task in training.
        outer_lr: Share of the way to the adapted weights that an update goes.
        momentum: Share of the last update that the next one keeps.
        average: Share of the averaged weights that an update keeps.
    """
    return Rema(problem, inner_lr, inner_steps, outer_lr, momentum, average)


@hookimpl
def register_algorithms():
    return {"rema-graph": rema}
