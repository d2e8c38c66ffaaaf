"""Regression of the sum of a short series: a recurrent net (`model=gru`) and attention (`model=mha`)."""

from typing import Literal

import torch
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.GRU(2, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = nn.Linear(2, 8)
        self.body = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        x = self.inputs(x)
        return self.head(self.body(x, x, x, need_weights=False)[0].mean(1))


def sequences(*, model: Literal["gru", "mha"] = "gru"):
    """y = w times the sum of the series, another w for each task.

    Args:
        model: A recurrent net, or attention.
    """

    def sample(split, n, generator):
        x = torch.randn(n, 16, 5, 2, generator=generator)
        w = torch.randn(n, 1, 2, generator=generator)
        y = (x.sum(2) * w).sum(-1, keepdim=True)
        return Task(Batch(x[:, :8], y[:, :8]), Batch(x[:, 8:], y[:, 8:]))

    def loss(predict, batch):
        return (predict(batch.x) - batch.y).square().mean()

    def metrics(predict, batch):
        return {"mse": loss(predict, batch)}

    net = {"gru": Recurrent, "mha": Attention}[model]
    budget = {"updates": 40, "meta_batch_size": 4, "validations": 2, "validation_tasks": 20, "test_tasks": 40}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 3})}
    return Suite(sample, net, loss, metrics, higher_is_better=False, recipes=recipes)


@hookimpl
def register_suites():
    return {"sequences": sequences}
