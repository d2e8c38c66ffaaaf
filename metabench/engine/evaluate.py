"""Scoring a learner on validation and test tasks. Query labels stay here: a plugin never sees them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from metabench.api import Batch, Learner, Predict, Suite, Task
from metabench.api.trees import leading_axis, map_tree
from metabench.engine.learner import adapt_fully, map_tasks
from metabench.engine.measure import synchronise
from metabench.engine.problem import inductive, to_device_dtype
from metabench.engine.seeds import stream
from metabench.records.record import Scores


class DivergedError(Exception):
    """A loss or a score that is not a finite number."""


BLOCK = 50
"""Tasks that are drawn from one random stream, and adapted together."""


def task_blocks(suite: Suite, name: str, split: str, count: int, device: str) -> list[Task]:
    """The first `count` tasks of a split, in blocks: the same for every trial of the suite at every seed.

    Support and query have memory of their own: behind a view of the support labels the query's could be read.
    """
    blocks = []
    for first in range(0, count, BLOCK):
        tasks = suite.sample(split, BLOCK, stream(name, split, first // BLOCK))
        kept = min(BLOCK, count - first)
        blocks.append(to_device_dtype(map_tree(lambda leaf, kept=kept: leaf[:kept].clone(), tasks), device))
    return blocks


@torch.no_grad()
def score_block(suite: Suite, learner: Learner, block: Task, steps: int, alone: dict[str, bool]) -> Scores:
    """Every metric of every task, before the first inner step and after each.

    `alone` says for each protocol to score whether a query point is predicted without the others.
    """
    found: Scores = {protocol: {} for protocol in alone}
    for adapted in learner.adapt(block.support, steps):
        for protocol in alone:
            for metric, values in score(suite, adapted, block, alone[protocol]).items():
                found[protocol].setdefault(metric, []).append(shortest_floats(values))
    return found


@torch.no_grad()
def final_scores(suite: Suite, learner: Learner, blocks: list[Task], steps: int, alone: bool) -> list[float]:
    """The first metric after the last inner step, one score a task."""
    scores: list[float] = []
    for block in blocks:
        metrics = score(suite, adapt_fully(learner, block.support, steps), block, alone)
        scores += shortest_floats(next(iter(metrics.values())))
    return scores


def score(suite: Suite, adapted: Sequence[Predict], tasks: Task, alone: bool) -> dict[str, Tensor]:
    """The suite's metrics of every task, each a tensor (n,)."""

    def one(predict: Predict, support: Batch, query: Batch) -> dict[str, Tensor]:
        found = suite.metrics(inductive(predict, support.x) if alone else predict, query)
        if not all(isinstance(name, str) for name in found):
            raise TypeError(f"metrics must be a dict of name -> scalar, not of {', '.join(map(repr, found))}")
        return found

    return map_tasks(adapted, one, tasks.support, tasks.query)


@torch.no_grad()
def depends_on_batch(suite: Suite, learner: Learner, block: Task) -> bool:
    """Whether the output for a point changes with the other points of the batch that the suite's metrics ask for."""
    one = map_tree(lambda leaf: leaf[:1], block)
    predict = next(iter(learner.adapt(one.support, 0)))[0]
    inputs: list[Tensor] = []

    def listening(x: Tensor) -> Tensor:
        inputs.append(x)
        return predict(x)

    suite.metrics(listening, map_tree(lambda leaf: leaf[0], one.query))
    x = inputs[0]
    among, elsewhere = predict(x)[0], predict(torch.cat([x[:1], 2 * x[1:] + 1]))[0]
    return not torch.allclose(among, elsewhere, rtol=1e-3, atol=1e-3 * float(among.abs().max()))


@torch.no_grad()
def adaptation_ms(learner: Learner, block: Task, steps: int, device: str, tasks: int = 20) -> float:
    """Median time to adapt to the support set of one task alone, in milliseconds."""
    times = []
    for i in (0, *range(min(tasks, leading_axis(block)))):  # the first is a warm-up
        support = map_tree(lambda leaf, i=i: leaf[i : i + 1], block.support)
        synchronise(device)
        began = time.perf_counter()
        adapt_fully(learner, support, steps)
        synchronise(device)
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times[1:]), 4)


def mean_and_ci95(scores: Sequence[float]) -> tuple[float, float]:
    """The mean and half the width of its 95% interval over tasks (normal approximation).

    Both are NaN if a score is not finite.
    """
    if not all(map(math.isfinite, scores)):
        return math.nan, math.nan
    return statistics.fmean(scores), 1.96 * statistics.stdev(scores) / math.sqrt(len(scores))


def add_scores(total: Scores, more: Scores) -> None:
    """Append one block's scores to those before it."""
    for protocol, metrics in more.items():
        for metric, steps in metrics.items():
            rows = total.setdefault(protocol, {}).setdefault(metric, [[] for _ in steps])
            for row, values in zip(rows, steps, strict=True):
                row += values


def refuse_infinite(scores: Scores) -> None:
    """Raise DivergedError if a test task has a score that is not a finite number."""
    for metrics in scores.values():
        for metric, steps in metrics.items():
            for step, values in enumerate(steps):
                bad = sum(not math.isfinite(value) for value in values)
                if bad:
                    raise DivergedError(
                        f"{bad} of {len(values)} test tasks have no finite {metric} after {step} inner steps"
                    )


def shortest_floats(values: Tensor) -> list[float]:
    """float32 values as the floats with the fewest digits that round to them: exact, and short in JSON."""
    return [float(str(value)) for value in values.detach().cpu().float().numpy()]
