"""A 3-way problem; the net has BatchNorm and, as is common, a last layer that starts at zero."""

import torch
import torch.nn.functional as F
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl


def blobs(*, zero: float = 0.0, queries: int = 6):
    """Which of three random centres is a point near to?

    Args:
        zero: Standard deviation of the last layer's initial weights.
        queries: Points of each class in the query set.
    """

    def sample(split, n, generator):
        centres = torch.randn(n, 1, 3, 4, generator=generator)
        x = (centres + 0.5 * torch.randn(n, 2 + queries, 3, 4, generator=generator)).flatten(1, 2)
        y = torch.arange(3).repeat(n, 2 + queries)
        return Task(Batch(x[:, :6], y[:, :6]), Batch(x[:, 6:], y[:, 6:]))

    def model():
        head = nn.Linear(8, 3)
        nn.init.normal_(head.weight, std=zero)
        nn.init.zeros_(head.bias)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), head)

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    def metrics(predict, batch):
        outputs = predict(batch.x)
        accuracy = (outputs.argmax(-1) == batch.y).to(outputs.dtype).mean()
        return {"accuracy": accuracy, "loss": F.cross_entropy(outputs, batch.y)}

    budget = {"updates": 30, "meta_batch_size": 4, "validations": 2, "validation_tasks": 40, "test_tasks": 100}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 3})}
    return Suite(sample, model, loss, metrics, higher_is_better=True, ways=3, recipes=recipes)


@hookimpl
def register_suites():
    return {"blobs": blobs}
