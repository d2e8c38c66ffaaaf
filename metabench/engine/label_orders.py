"""Each test task under several numberings of its classes: whose answer depends on them is seen, and averaged out.

What an initial head gives to class 0 differs from what it gives to class 1, so the same task has other scores under
another numbering (Ye and Chao 2022, arXiv 2106.16245).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.api import Batch, Suite, Task
from metabench.api.apart import as_tested
from metabench.api.trees import leading_axis
from metabench.engine.seeds import random_generator
from metabench.engine.state import TrialRun
from metabench.records.record import Scores

SPREAD = "over_labels"
"""The metric that says how far the numberings of a task lie apart: the standard deviation of the first metric."""


def numberings(run: TrialRun, suite: Suite, block: Task, number: int) -> Tensor:
    """int64 [numberings, tasks, ways]: the new index of each class, the first as it is; the same for every trial."""
    ways, tasks = as_tested(suite).ways or 1, leading_axis(block)
    generator = random_generator(run.trial.stream("test"), "labels", number)
    others = torch.rand(run.trial.label_permutations - 1, tasks, ways, generator=generator).argsort(-1)
    return torch.cat([torch.arange(ways).expand(1, tasks, ways), others])


def renumbered(block: Task, order: Tensor) -> Task:
    """The tasks with their classes numbered anew: order [tasks, ways]."""
    order = order.to(block.support.y.device)
    return Task(*(Batch(batch.x, order.gather(1, batch.y)) for batch in block))


def averaged(found: list[Scores]) -> Scores:
    """The mean of each score over numberings, and SPREAD; NaN stays."""
    whole: Scores = {}
    for protocol, metrics in found[0].items():
        for metric in metrics:
            cells = torch.tensor([scores[protocol][metric] for scores in found])  # [numberings, steps, tasks]
            whole.setdefault(protocol, {})[metric] = [shortest_floats(step) for step in cells.mean(0)]
            if metric == next(iter(metrics)):
                spread = [shortest_floats(step) for step in cells.std(0)]
        whole[protocol][SPREAD] = spread
    return whole


def shortest_floats(values: Tensor) -> list[float]:
    """float32 values as the floats with the fewest digits that round to them: exact, and short in JSON."""
    return [float(str(value)) for value in values.detach().cpu().float().numpy()]
