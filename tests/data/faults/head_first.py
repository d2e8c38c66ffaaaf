"""The same net twice: its classifier defined last, or first; the forward pass is the same."""

import torch
import torch.nn.functional as F
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl


class Net(nn.Module):
    def __init__(self, first):
        super().__init__()
        if first:
            self.classifier = nn.Linear(16, 3)
        self.body = nn.Linear(4, 16)
        if not first:
            self.classifier = nn.Linear(16, 3)

    def forward(self, x):
        return self.classifier(torch.relu(self.body(x)))


def odd_blobs(*, first: bool = False):
    """Which of three random centres is a point near to?

    Args:
        first: Define the classifier before the body.
    """

    def sample(split, n, generator):
        centres = torch.randn(n, 1, 3, 4, generator=generator)
        x = (centres + 0.5 * torch.randn(n, 8, 3, 4, generator=generator)).flatten(1, 2)
        y = torch.arange(3).repeat(n, 8)
        return Task(Batch(x[:, :6], y[:, :6]), Batch(x[:, 6:], y[:, 6:]))

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    def metrics(predict, batch):
        return {"accuracy": (predict(batch.x).argmax(-1) == batch.y).to(batch.x.dtype).mean()}

    budget = {"updates": 60, "meta_batch_size": 8, "validations": 2, "validation_tasks": 40, "test_tasks": 200}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 3})}
    return Suite(sample, lambda: Net(first), loss, metrics, higher_is_better=True, ways=3, recipes=recipes)


@hookimpl
def register_suites():
    return {"odd-blobs": odd_blobs}
