"""Two small suites that the kit tries algorithms on: smooth models, so that finite differences are exact enough."""

from __future__ import annotations

import torch
from torch import Generator, nn

from metabench.api import Batch, Pool, Suite, Task

CLASSES = {"train": 12, "validation": 6, "test": 6}
WAYS = 3


def lines() -> Suite:
    """Regress y = a x + b, a and b normal, from 6 points; a tanh network of 25 weights."""

    def sample(split: str, n: int, generator: Generator) -> Task:
        x = torch.randn(n, 12, 1, generator=generator)
        y = torch.randn(n, 1, 1, generator=generator) * x + torch.randn(n, 1, 1, generator=generator)
        return Task(Batch(x[:, :6], y[:, :6]), Batch(x[:, 6:], y[:, 6:]))

    return Suite(
        sample=sample,
        model=lambda: nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)),
        loss=lambda predict, batch: (predict(batch.x) - batch.y).square().mean(),
        metrics=lambda predict, batch: {"mse": (predict(batch.x) - batch.y).square().mean()},
        higher_is_better=False,
    )


def clouds() -> Suite:
    """Tell 3 of many normal clouds in the plane apart from 2 points each; batch statistics, and a pool."""
    centres = torch.randn(sum(CLASSES.values()), 2, generator=Generator().manual_seed(0)) * 2
    first = dict(zip(CLASSES, (0, CLASSES["train"], CLASSES["train"] + CLASSES["validation"])))

    def sample(split: str, n: int, generator: Generator) -> Task:
        chosen = torch.rand(n, CLASSES[split], generator=generator).argsort(1)[:, :WAYS] + first[split]
        noise = torch.randn(n, 5 * WAYS, 2, generator=generator) * 0.5
        x = centres[chosen].repeat(1, 5, 1) + noise
        y = torch.arange(WAYS).repeat(n, 5)
        return Task(Batch(x[:, : 2 * WAYS], y[:, : 2 * WAYS]), Batch(x[:, 2 * WAYS :], y[:, 2 * WAYS :]))

    def draw(n: int, generator: Generator) -> Batch:
        y = torch.randint(CLASSES["train"], (n,), generator=generator)
        return Batch(centres[y] + torch.randn(n, 2, generator=generator) * 0.5, y)

    return Suite(
        sample=sample,
        model=lambda: nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, WAYS)
        ),
        loss=lambda predict, batch: nn.functional.cross_entropy(predict(batch.x), batch.y),
        metrics=lambda predict, batch: {
            "accuracy": (predict(batch.x).argmax(-1) == batch.y).to(batch.x.dtype).mean()
        },
        higher_is_better=True,
        groups=lambda split: frozenset(f"cloud {first[split] + i}" for i in range(CLASSES[split])),
        ways=WAYS,
        pool=lambda: Pool(CLASSES["train"], draw),
    )


TOYS = {"lines": lines, "clouds": clouds}
