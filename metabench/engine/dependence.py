"""Whether a prediction depends on the other query points: measured on predictions, where it can be seen."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metabench.api import Batch, Learner, Predict, Suite, Task
from metabench.api.collecting import collected
from metabench.api.trees import map_tree
from metabench.engine.guards import close

TASKS = 4
"""Test or validation tasks that it is measured on."""
TOLERANCE = 1e-3
"""How far outputs for a point may be apart, relative to the largest, and still be the same: rounding."""


@torch.no_grad()
def depends_on_batch(suite: Suite, learner: Learner, block: Task, steps: int) -> bool:
    """Whether the output for a point changes with the other points of the batch that the suite's metrics ask for.

    Looked at before the first inner step and after the last: at either a last layer may be nothing but zeros.
    """
    few = map_tree(lambda leaf: leaf[:TASKS], block)
    for step, adapted in enumerate(learner.adapt(few.support, steps)):
        if step in (0, steps):
            for i, predict in enumerate(adapted):
                if differs(suite, predict, map_tree(lambda leaf, i=i: leaf[i], few)):
                    return True
    return False


def differs(suite: Suite, predict: Predict, task: Task) -> bool:
    """Whether outputs for some points of one task change with the company that they are in.

    A model that some company makes fail depends on it: BatchNorm of one point, say.
    """
    asked: list[tuple[Tensor, Tensor]] = []

    def listening(x: Tensor) -> Tensor:
        outputs = predict(x)
        asked.append((x, outputs))
        return outputs

    try:
        suite.metrics(listening, collected(suite, listening, task.query))
        return any(
            not close(predict(batch)[rows], outputs[points], TOLERANCE)
            for x, outputs in asked
            for batch, rows, points in companies(x, task.support)
        )
    except (RuntimeError, ValueError):
        return True


def companies(x: Tensor, support: Batch) -> Iterator[tuple[Tensor, slice, slice]]:
    """Batches with points of `x` in other company: the rows to look at, and the points of `x` that they are.

    The others are points of the task too, so that a batch holds nothing that the model was not made for.
    """
    count = len(x)
    if count > 1:
        yield x.roll(1, 0), slice(1, None), slice(None, -1)
        for point in (0, count - 1):
            yield x[point : point + 1].expand_as(x), slice(point, point + 1), slice(point, point + 1)
    seen = support.x
    if seen.shape[1:] == x.shape[1:] and seen.dtype == x.dtype:
        others = seen.repeat(-(-count // len(seen)), *[1] * (seen.dim() - 1))[: max(1, count - 1)]
        yield torch.cat([x[:1], others]), slice(0, 1), slice(0, 1)
        yield torch.cat([others, x[-1:]]), slice(-1, None), slice(-1, None)
