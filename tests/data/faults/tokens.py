"""Few-shot classification of token sequences: an embedding, a mean, a linear layer."""

import torch
import torch.nn.functional as F
from torch import nn

from metabench.api import Batch, Recipe, Suite, Task, hookimpl

VOCABULARY = 20


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.embed(x).mean(1))


def tokens(*, queries: int = 8):
    """Does the sentence hold one of the task's words?

    Args:
        queries: Sentences of the query set.
    """

    def sample(split, n, generator):
        x = torch.randint(VOCABULARY, (n, 8 + queries, 6), generator=generator)
        words = torch.randint(VOCABULARY, (n, 1, 3), generator=generator)
        y = (x[..., None] == words[:, :, None]).any(-1).any(-1).long()
        return Task(Batch(x[:, :8], y[:, :8]), Batch(x[:, 8:], y[:, 8:]))

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    def metrics(predict, batch):
        outputs = predict(batch.x)
        return {"accuracy": (outputs.argmax(-1) == batch.y).to(outputs.dtype).mean()}

    budget = {"updates": 20, "meta_batch_size": 4, "validations": 1, "validation_tasks": 20, "test_tasks": 20}
    recipes = {"quick": Recipe("none", budget=budget | {"test_steps": 1})}
    return Suite(sample, Net, loss, metrics, higher_is_better=True, recipes=recipes)


@hookimpl
def register_suites():
    return {"tokens": tokens}
