"""Harmonic regression: sums of two sinusoids, each task seen through a window of its own."""

from __future__ import annotations

import math

import torch
from torch import Generator

from metabench.api import Batch, Positive, Rate, Recipe, Size, Suite, SuiteFactory, Task, hookimpl
from metabench_plugins.suites.backbones import mlp
from metabench_plugins.suites.sinusoid import mean_squared_error, uniform


def harmonic(
    *,
    shots: Size = 10,
    queries: Size = 10,
    test_queries: Size = 100,
    lowest_frequency: Positive = 0.5,
    highest_frequency: Positive = 1.0,
    noise: Rate = 0.0,
    width: Size = 64,
) -> Suite:
    """Regress y = a sin(w x + p) + b sin(2 w x + q) from points of a narrow window; harder than `sinusoid`.

    Amplitudes a, b are standard normal, phases p, q uniform in [0, 2 pi), w uniform between the two frequencies,
    x normal with deviation 1 around a centre uniform in [-4, 4). Squared loss, MLP of three hidden layers.

    The harmonic data set of Lacoste et al. 2018, arXiv 1806.07528; all ranges but that of w are those of
    Torchmeta's `Harmonic`. There w is in [5, 7], so that a window holds some eight periods and ten points cannot
    tell: MAML then learns to predict about zero (measured: mse 1.05 where the targets' variance is 1). Say
    lowest_frequency=5 and highest_frequency=7 for that family.

    Args:
        shots: Points of the support set.
        queries: Points of the query set in training.
        test_queries: Points of the query set in validation and test.
        lowest_frequency: Lower end of the range of w, in radians per unit of x.
        highest_frequency: Upper end of that range.
        noise: Standard deviation of what is added to support targets, in training and test alike.
        width: Units of each hidden layer.
    """
    if not lowest_frequency <= highest_frequency:
        raise ValueError(f"frequencies must be the lowest first, not {lowest_frequency} and {highest_frequency}")

    def sample(split: str, n: int, generator: Generator) -> Task:
        points = shots + (queries if split == "train" else test_queries)
        amplitudes = torch.randn(n, 1, 2, generator=generator)
        phases = uniform((n, 1, 2), 0.0, 2 * math.pi, generator)
        frequency = uniform((n, 1, 1), lowest_frequency, highest_frequency, generator)
        centre = uniform((n, 1, 1), -4.0, 4.0, generator)
        x = centre + torch.randn(n, points, 1, generator=generator)
        angles = frequency * x * torch.tensor([1.0, 2.0]) + phases
        y = (amplitudes * angles.sin()).sum(-1, keepdim=True)
        seen = y[:, :shots] + noise * torch.randn(n, shots, 1, generator=generator)
        return Task(Batch(x[:, :shots], seen), Batch(x[:, shots:], y[:, shots:]))

    return Suite(
        sample=sample,
        model=lambda: mlp(1, (width, width, width), 1),
        loss=mean_squared_error,
        metrics=lambda predict, batch: {"mse": mean_squared_error(predict, batch)},
        higher_is_better=False,
        recipes={"quick": QUICK},
    )


QUICK = Recipe(
    source=(
        "No paper's. MAML and scratch: near the best of 8 trials of 800 updates each by `metabench tune`, on "
        "validation tasks; the others take MAML's step sizes or were tried once"
    ),
    budget={
        "updates": 1500,
        "meta_batch_size": 25,
        "validations": 5,
        "validation_tasks": 200,
        "test_steps": 10,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 8}, "scratch": {"inner_lr": 0.06}},
    shared={"inner_lr": 0.017, "inner_steps": 1, "outer_lr": 0.005, "train_lr": 1e-3},
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"harmonic": harmonic}
