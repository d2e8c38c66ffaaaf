"""Suites that are wrong on purpose, each in one way. It is a plugin: `metabench check NAME --plugin` takes it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from metabench.api import Batch, Recipe, Size, Task, hookimpl
from metabench.testing.toy_suites import clouds, lines


def raises():
    def sample(split, n, generator):
        raise KeyError("oops")

    return lines()._replace(sample=sample)


def sample_with(change):
    """The lines, their tasks changed by (tasks, generator) -> tasks."""
    return lines()._replace(sample=lambda split, n, generator: change(lines().sample(split, n, generator), generator))


def global_random_state():
    def noisy(tasks, generator):
        return tasks._replace(support=Batch(tasks.support.x + torch.randn_like(tasks.support.x), tasks.support.y))

    return sample_with(noisy)


def hash_seed():
    def scaled(tasks, generator):
        factor = 1 + hash("a name") % 1000 / 1000
        return tasks._replace(support=Batch(tasks.support.x * factor, tasks.support.y))

    return sample_with(scaled)


def doubles():
    return sample_with(lambda tasks, generator: Task(*(Batch(batch.x.double(), batch.y) for batch in tasks)))


def query_is_support():
    return sample_with(lambda tasks, generator: Task(tasks.support, tasks.support))


def overlapping_splits():
    return clouds()._replace(groups=lambda split: frozenset({"a cloud"}))


def running_statistics():
    return clouds()._replace(model=lambda: nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))


def weights_from_numpy():
    def model():
        module = lines().model()
        with torch.no_grad():
            for weight in module.parameters():
                weight.copy_(torch.from_numpy(np.random.randn(*weight.shape)))
        return module

    return lines()._replace(model=model)


def ways_of_another_task():
    return clouds()._replace(ways=2)


def metric_per_point():
    return lines()._replace(metrics=lambda predict, batch: {"mse": (predict(batch.x) - batch.y).square()})


def wrong_way_round():
    return lines()._replace(higher_is_better=True)


def constant_loss():
    return lines()._replace(loss=lambda predict, batch: torch.zeros(()) * predict(batch.x).sum())


class Once(torch.autograd.Function):
    """Twice x, differentiable once."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        return None

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient


class Doubled(nn.Linear):
    def forward(self, x):
        return Once.apply(super().forward(x))


def differentiable_once():
    return lines()._replace(model=lambda: nn.Sequential(Doubled(1, 4), nn.Tanh(), nn.Linear(4, 1)))


def parameter_renamed(*, shots: Size = 6):
    """Its docstring has the parameter's former name.

    Args:
        points: Points of the support set.
        shots: The same.
    """
    return lines()


def parameter_without_a_range(*, shots: int | None = 6):
    """It takes any number of points, or says so.

    Args:
        shots: Points of the support set.
    """
    return lines()


def misspelt_recipe():
    return lines()._replace(recipes={"paper": Recipe("nowhere", budget={"epochs": 1})})


ZOO = {
    "raises-too": (raises, "samples"),
    "global-random": (global_random_state, "reproducible"),
    "hash-seeded": (hash_seed, "other-process"),
    "doubles": (doubles, "shapes"),
    "query-is-support": (query_is_support, "query-apart"),
    "overlapping-splits": (overlapping_splits, "disjoint-splits"),
    "running-statistics": (running_statistics, "model-stateless"),
    "weights-from-numpy": (weights_from_numpy, "model-seeded"),
    "ways-of-another-task": (ways_of_another_task, "ways"),
    "metric-per-point": (metric_per_point, "judges"),
    "wrong-way-round": (wrong_way_round, "metric-direction"),
    "constant-loss": (constant_loss, "batchable"),
    "differentiable-once": (differentiable_once, "twice-differentiable"),
    "misspelt-recipe": (misspelt_recipe, "recipes"),
    "parameter-without-any-range": (parameter_without_a_range, "parameters-ranged"),
    "parameter-renamed": (parameter_renamed, "parameters-explained"),
}
"""By name: the factory, and the check that is named for what is wrong with it."""


@hookimpl
def register_suites():
    return {name: factory for name, (factory, _) in ZOO.items()}
