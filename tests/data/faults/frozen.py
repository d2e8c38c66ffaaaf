"""A model whose body is frozen, or whose forward pass writes into its input."""

from typing import Literal

import torch
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl


class Halve(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        return x.mul_(0.5) if self.inplace else x * 0.5


def model(kind):
    body = nn.Linear(4, 8)
    if kind == "frozen":
        body.requires_grad_(False)
        return nn.Sequential(body, nn.ReLU(), nn.Linear(8, 1))
    return nn.Sequential(Halve(kind == "inplace"), body, nn.ReLU(), nn.Linear(8, 1))


def plane(*, kind: Literal["frozen", "inplace", "outplace"] = "frozen"):
    """y = w x, another w for each task.

    Args:
        kind: A frozen body, a forward pass in place, or the same as it should be.
    """

    def sample(split, n, generator):
        x = torch.randn(n, 16, 4, generator=generator)
        y = (x * torch.randn(n, 1, 4, generator=generator)).sum(-1, keepdim=True)
        return Task(Batch(x[:, :8], y[:, :8]), Batch(x[:, 8:], y[:, 8:]))

    def loss(predict, batch):
        return (predict(batch.x) - batch.y).square().mean()

    def metrics(predict, batch):
        return {"mse": loss(predict, batch)}

    budget = {"updates": 50, "meta_batch_size": 4, "validations": 5, "validation_tasks": 40, "test_tasks": 100}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 3})}
    return Suite(sample, lambda: model(kind), loss, metrics, higher_is_better=False, recipes=recipes)


@hookimpl
def register_suites():
    return {"plane": plane}
