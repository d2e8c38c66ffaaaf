"""A wide convolutional net whose forward pass calls functional dropout: nothing is asked for but the defaults."""

import torch
import torch.nn.functional as F
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 32, 3, 2, 1)
        self.b = nn.Conv2d(32, 32, 3, 2, 1)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        features = F.relu(self.b(F.relu(self.a(x)))).mean((2, 3))
        return self.head(F.dropout(features, 0.5, self.training))


def blots(*, queries: int = 5):
    """Which of three random pictures is this?

    Args:
        queries: Images of each class in the query set.
    """

    def sample(split, n, generator):
        centres = torch.randn(n, 1, 3, 1, 8, 8, generator=generator)
        x = (centres + 0.3 * torch.randn(n, 1 + queries, 3, 1, 8, 8, generator=generator)).flatten(1, 2)
        y = torch.arange(3).repeat(n, 1 + queries)
        return Task(Batch(x[:, :3], y[:, :3]), Batch(x[:, 3:], y[:, 3:]))

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    def metrics(predict, batch):
        return {"accuracy": (predict(batch.x).argmax(-1) == batch.y).to(batch.x.dtype).mean()}

    budget = {"updates": 10, "meta_batch_size": 4, "validations": 1, "validation_tasks": 20, "test_tasks": 100}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 2})}
    return Suite(sample, Net, loss, metrics, higher_is_better=True, ways=3, recipes=recipes)


@hookimpl
def register_suites():
    return {"blots": blots}
