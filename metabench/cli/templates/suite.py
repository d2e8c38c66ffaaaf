"""my-plugin: regression on random parabolas. Say what your tasks are, and their source."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from metabench.api import Batch, Predict, Recipe, Size, Suite, Task, hookimpl


# The keyword parameters are what users --set: each has a type, a default and an explanation under `Args:`.
def my_plugin(*, shots: Size = 5, queries: Size = 15) -> Suite:
    """Regress y = a x² + b x from a few points, a and b normal. The first line is in `metabench list`.

    Args:
        shots: Points of the support set.
        queries: Points of the query set.
    """

    # CHANGE: n tasks of a split. Every draw takes the generator; support and query are cut from different points.
    def sample(split: str, n: int, generator: Generator) -> Task:
        x = 2 * torch.rand(n, shots + queries, 1, generator=generator) - 1
        a, b = torch.randn(2, n, 1, 1, generator=generator)
        y = a * x**2 + b * x
        return Task(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    # CHANGE: what a learner minimises on one task; `metrics` is what tables show.
    def loss(predict: Predict, batch: Batch) -> Tensor:
        return (predict(batch.x) - batch.y).square().mean()

    return Suite(
        sample=sample,
        model=lambda: nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 1)),  # CHANGE: no running statistics
        loss=loss,
        metrics=lambda predict, batch: {"mse": loss(predict, batch)},
        higher_is_better=False,
        recipes={"quick": Recipe("CHANGE: paper and table", budget={"updates": 500, "meta_batch_size": 16})},
    )


@hookimpl
def register_suites() -> dict[str, object]:
    return {"my-plugin": my_plugin}
