"""How long the last update before a validation was, and the meta-gradient that it followed: what convergence is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metabench.api import Learner, Task
from metabench.api.trees import flatten
from metabench.engine.learner import BatchedLearner


class Norms(NamedTuple):
    """Euclidean, over all that is meta-learnt; None where a learner of another library does not show it."""

    gradient: float | None = None
    """Of the mean direction over the update's tasks, before any clipping and before the optimizer."""
    update: float | None = None
    """Of the change that the update made."""


UNKNOWN = Norms()


class WatchedUpdate:
    """One update, seen from outside: made before it, read after it.

    The direction is computed once more than the update itself does, so that no strategy, however it makes the update
    one program, has to give it away; that is done once a validation.
    """

    def __init__(self, learner: Learner, tasks: Task, progress: float) -> None:
        self.learner = learner
        self.before: list[Tensor] = []
        self.gradient: float | None = None
        if not isinstance(learner, BatchedLearner):
            return
        self.before = [leaf.detach().clone() for leaf in learner.outer.leaves]
        if learner.collector is None:  # which would act in its environments once more
            self.gradient = norm(flatten(learner.direction(tasks, progress)[1])[0])

    def norms(self) -> Norms:
        """After the update."""
        if not isinstance(self.learner, BatchedLearner):
            return UNKNOWN
        after = self.learner.outer.leaves
        return Norms(self.gradient, norm([new - old for new, old in zip(after, self.before, strict=True)]))


@torch.no_grad()
def norm(leaves: Sequence[Tensor]) -> float:
    """The Euclidean norm of all leaves together."""
    return float(torch.stack([leaf.double().square().sum() for leaf in leaves]).sum().sqrt())
