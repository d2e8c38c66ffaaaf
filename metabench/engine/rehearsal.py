"""One task before the first update: whether a learner runs at all, and leaves the task and itself as they were."""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.api import Learner, Predict, Suite, Task
from metabench.api.autodiff import watched
from metabench.api.collecting import collected
from metabench.api.trees import flatten, map_tree
from metabench.engine.evaluate import score
from metabench.engine.guards import close, copy_of, same
from metabench.engine.learner import BatchedLearner, adapt_fully
from metabench.engine.problem import to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.errors import UserError

STEPS = 1
"""Inner steps that are taken."""


@torch.no_grad()
def rehearse(learner: Learner, suite: Suite, tasks: Task, who: str) -> None:
    """Adapt to the first of `tasks` and score it, twice; take the direction on it, where there is one.

    Raises whatever the learner raises, and UserError that begins with `who` where it writes into the task, into its
    own state, or predicts differently the second time.
    """
    task = map_tree(lambda leaf: leaf[:1].clone(), tasks)
    judged = task if suite.test_ways is None else validation_task(suite, task)
    given, state = copy_of((task, judged)), copy_of(learner.state_dict())
    found = []
    for _ in range(2):
        adapted = adapt_fully(learner, judged.support, STEPS)
        score(suite, adapted, judged, inductive=False)
        found.append(outputs(suite, adapted[0], judged))
    if isinstance(learner, BatchedLearner) and learner.trainable:
        token = watched.set(True)
        try:
            learner.direction(task, 0.0)
        finally:
            watched.reset(token)
    if not same((task, judged), given):
        raise UserError(f"{who} writes into the task that it is given. Write x + noise, not x += noise.")
    if not same(copy_of(learner.state_dict()), state):
        raise UserError(f"{who} changes its own state when it adapts to a task: the next task would feel it.")
    if not close(found[0], found[1]):
        gap = float((found[0] - found[1]).abs().nan_to_num().max())
        raise UserError(
            f"{who} adapts to the same task twice and predicts differently, by up to {gap:.2g}: it draws random "
            "numbers, or keeps something from task to task."
        )


def validation_task(suite: Suite, like: Task) -> Task:
    """One, where a training task is and in its dtype."""
    leaves = flatten(like)[0]
    dtype = next((leaf.dtype for leaf in leaves if leaf.is_floating_point()), torch.get_default_dtype())
    return to_device_dtype(suite.sample("validation", 1, random_generator("rehearsal")), str(leaves[0].device), dtype)


def outputs(suite: Suite, predict: Predict, task: Task) -> Tensor:
    """What is predicted where the suite's metrics ask, which need not be the query inputs: a policy sees states."""
    found: list[Tensor] = []

    def listening(x: Tensor) -> Tensor:
        answer = predict(x)
        found.append(answer.detach().flatten().clone())
        return answer

    suite.metrics(listening, collected(suite, listening, map_tree(lambda leaf: leaf[0], task.query)))
    return torch.cat(found)
