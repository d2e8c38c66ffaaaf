"""A support vector machine trained by gradient: MAML needs a gradient, not a network."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from metabench.api import Batch, Predict, Range, Recipe, Size, Suite, SuiteFactory, Task, hookimpl


def linear_svm(
    *, features: Size = 20, shots: Size = 10, queries: Size = 20, spread: Annotated[float, Range(ge=0, le=1e6)] = 0.5
) -> Suite:
    """Tell two classes apart by a hyperplane: hinge loss on a linear model, targets -1 and 1.

    The normal of a task's hyperplane is a direction common to all tasks plus `spread` times a random one of the
    same expected length, so there is something to learn; x is standard normal. With the hinge loss a linear model
    is a support vector machine without its margin term. MAML is agnostic to the model as long as it is trained by
    gradient: Finn et al. 2017, arXiv 1703.03400, section 2.

    Args:
        features: Dimensions of x.
        shots: Points of the support set.
        queries: Points of the query set.
        spread: How much hyperplanes differ between tasks; at 0 all tasks have the same one.
    """

    def sample(split: str, n: int, generator: Generator) -> Task:
        common = torch.ones(features, 1)
        normal = common + spread * torch.randn(n, features, 1, generator=generator)
        x = torch.randn(n, shots + queries, features, generator=generator)
        y = torch.where(x @ normal < 0, -1.0, 1.0)
        return Task(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    return Suite(
        sample=sample,
        model=lambda: nn.Linear(features, 1),
        loss=hinge,
        metrics=lambda predict, batch: {"accuracy": right(predict, batch), "hinge": hinge(predict, batch)},
        higher_is_better=True,
        recipes={"quick": QUICK},
    )


def hinge(predict: Predict, batch: Batch) -> Tensor:
    """The mean of max(0, 1 - y f(x)) over a batch, a scalar."""
    return torch.relu(1 - batch.y * predict(batch.x)).mean()


def right(predict: Predict, batch: Batch) -> Tensor:
    """The share of points on the right side."""
    return (predict(batch.x).sign() == batch.y).to(batch.x.dtype).mean()


QUICK = Recipe(
    source="No paper's: set by hand, not tuned",
    budget={
        "updates": 300,
        "meta_batch_size": 16,
        "validations": 5,
        "validation_tasks": 200,
        "test_steps": 5,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 5}},
    shared={"inner_lr": 0.1, "inner_steps": 3, "outer_lr": 0.01, "train_lr": 0.01},
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"linear-svm": linear_svm}
