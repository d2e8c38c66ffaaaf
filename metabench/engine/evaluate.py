"""Scoring a learner on validation and test tasks. Query labels stay here: a plugin never sees them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metabench.api import Batch, Learner, Predict, Suite, Task
from metabench.api.collecting import collected
from metabench.api.trees import leading_axis, map_tree, stack
from metabench.engine import problem
from metabench.engine.dependence import depends_on_batch
from metabench.engine.divergence import refuse_divergence
from metabench.engine.examples import examples
from metabench.engine.label_orders import averaged, numberings, renumbered, shortest_floats
from metabench.engine.learner import adapt_fully, map_tasks
from metabench.engine.measure import synchronise, timed
from metabench.engine.state import TrialRun, TrialState
from metabench.engine.tasks import common_tasks
from metabench.records.record import Examples, Scores, StoppedError, TestScore
from metabench.records.trials import Protocol


class Tested(NamedTuple):
    """What came of the test tasks."""

    metric: str
    tests: dict[str, TestScore]
    """By protocol."""
    adapt_ms: float
    scores: Scores
    examples: Examples | None


def test(run: TrialRun, suite: Suite, learner: Learner, state: TrialState) -> Tested:
    """Score every test task after every inner step, under each protocol asked for.

    Raises DivergedError, and StoppedError between two blocks.
    """
    budget = run.trial.budget
    blocks = common_tasks(run, suite, "test", budget.test_tasks)
    state.depends = state.depends or depends_on_batch(suite, learner, blocks[0], budget.test_steps)
    inductive = protocols_to_score(run.trial.protocol, state.depends)
    scores: Scores = {}
    with timed(state.seconds, "test", run.execution.device):
        for number in range(len(blocks)):
            if run.stopping():
                raise StoppedError
            add_scores(scores, score_numbered(run, suite, learner, blocks, number, inductive))
            run.heartbeat("test", number + 1, len(blocks))
    refuse_divergence(scores)
    shown = next(iter(inductive))
    metric = next(iter(scores[shown]))
    return Tested(
        metric=metric,
        tests={name: summary(name, scores[name], metric) for name in inductive},
        adapt_ms=adaptation_ms(learner, blocks[0], budget.test_steps, run.execution.device),
        scores=scores,
        examples=examples(
            learner, blocks[0], budget.test_steps, shown, inductive=inductive[shown], acting=suite.acting
        ),
    )


def score_numbered(
    run: TrialRun, suite: Suite, learner: Learner, blocks: Sequence[Task], number: int, inductive: dict[str, bool]
) -> Scores:
    """A block of test tasks; where that is asked for, its means over several numberings of the classes."""
    block, steps = blocks[number], run.trial.budget.test_steps
    if run.trial.label_permutations == 1:
        return score_block(suite, learner, block, steps, inductive)
    orders = numberings(run, suite, block, number)
    return averaged([score_block(suite, learner, renumbered(block, order), steps, inductive) for order in orders])


def protocols_to_score(asked: Protocol, depends: bool) -> dict[str, bool]:
    """For each protocol to score, whether a query point is predicted without the others."""
    if not depends:
        return {"inductive": False}  # both protocols give the same predictions, so take the cheaper way
    every = {"transductive": False, "inductive": True}
    return every if asked == "both" else {asked: every[asked]}


def summary(protocol: str, metrics: dict[str, list[list[float]]], metric: str) -> TestScore:
    """Mean and interval of the metric after the last inner step, and the means of all metrics after each."""
    score, ci95 = mean_and_ci95(metrics[metric][-1])
    return TestScore(
        transductive=protocol == "transductive",
        score=score,
        ci95=ci95,
        adaptation={name: [sum(step) / len(step) for step in steps] for name, steps in metrics.items()},
    )


@torch.no_grad()
def score_block(suite: Suite, learner: Learner, block: Task, steps: int, inductive: dict[str, bool]) -> Scores:
    """Every metric of every task, before the first inner step and after each.

    `inductive` says for each protocol to score whether a query point is predicted without the others.
    """
    found: Scores = {protocol: {} for protocol in inductive}
    for adapted in learner.adapt(block.support, steps):
        for protocol in inductive:
            for metric, values in score(suite, adapted, block, inductive[protocol]).items():
                found[protocol].setdefault(metric, []).append(shortest_floats(values))
    return found


@torch.no_grad()
def final_scores(suite: Suite, learner: Learner, blocks: Sequence[Task], steps: int, inductive: bool) -> list[float]:
    """The first metric after the last inner step, one score a task."""
    scores: list[float] = []
    for number in range(len(blocks)):  # a loop's variable would hold the block before while the next is drawn
        scores += final_scores_of_block(suite, learner, blocks[number], steps, inductive)
    return scores


def final_scores_of_block(suite: Suite, learner: Learner, block: Task, steps: int, inductive: bool) -> list[float]:
    """See final_scores."""
    metrics = score(suite, adapt_fully(learner, block.support, steps), block, inductive)
    return shortest_floats(next(iter(metrics.values())))


def score(suite: Suite, adapted: Sequence[Predict], tasks: Task, inductive: bool) -> dict[str, Tensor]:
    """The suite's metrics of every task, each a tensor (n,).

    NaN where an output is: an accuracy would take such a point for one of the first class.
    """

    def one(predict: Predict, support: Batch, query: Batch) -> dict[str, Tensor]:
        spoilt: list[Tensor] = []
        asked = problem.inductive(predict, support.x) if inductive else predict

        def listening(x: Tensor) -> Tensor:
            outputs = asked(x)
            spoilt.append(outputs.isnan().any())
            return outputs

        found = suite.metrics(listening, query)
        if not all(isinstance(name, str) for name in found):
            raise TypeError(f"metrics must be a dict of name -> scalar, not of {', '.join(map(repr, found))}")
        bad = torch.stack(spoilt).any() if spoilt else torch.tensor(False)
        return {name: torch.where(bad, math.nan, value) for name, value in found.items()}

    query = tasks.query
    if suite.collect:
        found = [collected(suite, predict, Batch(x, y)) for predict, x, y in zip(adapted, *query, strict=True)]
        query = stack(found)
    metrics: dict[str, Tensor] = map_tasks(adapted, one, tasks.support, query)
    return metrics


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
