"""One algorithm on one toy suite, and what the checks do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metabench.api import Algorithm, Learner, Problem, Suite, Task
from metabench.api.trees import Shaped, Tree, flatten, map_tree
from metabench.engine.learner import BatchedLearner, adapt_fully, as_learner, map_tasks
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator, seed_everything
from metabench.errors import NotApplicableError
from metabench.testing.checks import FailureError

STEPS = 3
"""Inner steps that the checks take."""

Elsewhere = Callable[[], tuple[dict[str, str], dict[str, str]]]
"""Digests by case, from two other processes."""


@dataclass(frozen=True)
class Case:
    """One algorithm on one toy suite, in float64."""

    suite: Suite
    factory: Callable[..., Any]
    label: str = ""
    elsewhere: Elsewhere | None = None

    @cached_property
    def built(self) -> Problem:
        """See problem."""
        return build_problem(self.suite, seed=0, dtype=torch.float64)

    def problem(self) -> Problem:
        """Always the same: pure functions, which give tensors of their own each time."""
        return self.built

    def make(self, problem: Problem | None = None, **parameters: Any) -> Any:
        """What the factory makes of the problem; any ValueError says that the problem is not for it."""
        try:
            return self.factory(problem or self.problem(), **parameters)
        except ValueError as reason:
            raise NotApplicableError(str(reason)) from None

    def learner(self, strategy: str = "auto", threads: int = 1, **parameters: Any) -> Learner:
        """A fresh learner. Global random streams are reset, so that their use is caught by `reproducible` alone."""
        seed_everything(0)
        return as_learner(self.make(**parameters), strategy, threads, suite=self.suite)

    def fresh(self) -> Learner:
        """A fresh learner, the global random streams left where they are."""
        return as_learner(self.make(), suite=self.suite)

    def algorithm(self) -> Algorithm:
        """The algorithm, if it is one."""
        seed_everything(0)
        made = self.make()
        if not isinstance(made, Algorithm):
            raise NotApplicableError("it is a Learner, which batches its own tasks")
        return made

    def trainable(self, **parameters: Any) -> Learner:
        """A fresh learner, if it is meta-trained."""
        learner = self.learner(**parameters)
        if not learner.trainable:
            raise NotApplicableError("nothing is meta-trained")
        return learner

    def tasks(self, n: int, name: str = "tasks", split: str = "train") -> Task:
        """n tasks, the same for the same name, with memory of their own."""
        return copied(
            to_device_dtype(self.suite.sample(split, n, random_generator("kit", name)), "cpu", torch.float64)
        )


def plugin_functions(learner: Learner) -> tuple[Any, ...]:
    """The functions in which a mistake may lie, for `where`."""
    if isinstance(learner, BatchedLearner):
        one = learner.algorithm
        return one.inner.step, one.inner.start, one.objective, one.meta_grad, one.init
    return type(learner).adapt, type(learner).update


def copied(tree: Shaped) -> Shaped:
    """The same tensors in memory of their own, so that in-place writes are caught by `inputs-untouched` alone."""
    return map_tree(lambda leaf: leaf.clone(memory_format=torch.contiguous_format), tree)


def predictions(learner: Learner, tasks: Task, steps: int = STEPS) -> Tensor:
    """The outputs (n, q, ...) for the query inputs after some inner steps."""
    tasks = copied(tasks)
    with torch.no_grad():
        adapted = adapt_fully(learner, tasks.support, steps)
        outputs: Tensor = map_tasks(adapted, lambda predict, x: predict(x).clone(), tasks.query.x)
    return outputs


def losses(case: Case, learner: Learner, tasks: Task, part: str) -> tuple[float, float]:
    """The mean loss on the support or query sets before the first inner step and after the last."""
    tasks = copied(tasks)
    found = []
    with torch.no_grad():
        for adapted in learner.adapt(tasks.support, STEPS):
            found.append(float(map_tasks(adapted, case.suite.loss, copied(getattr(tasks, part))).mean()))
    return found[0], found[-1]


def train(learner: Learner, case: Case, updates: int) -> None:
    """So many updates, each on tasks of its own."""
    for i in range(updates):
        learner.update(case.tasks(4, f"update {i}"), i / updates)


def after_updates(learner: Learner, case: Case, updates: int) -> Tensor:
    """Predictions after so many updates; after none if nothing is trained."""
    train(learner, case, updates if learner.trainable else 0)
    return predictions(learner, case.tasks(4))


def gap(seen: Tree, expected: Tree) -> tuple[float, float]:
    """The largest difference between two trees, and that beside the scale of its tensor (at least 1)."""
    worst = (0.0, 0.0)
    for one, other in zip(flatten(seen)[0], flatten(expected)[0], strict=True):
        difference = float((one - other).detach().abs().max())
        difference = difference if difference == difference else float("inf")
        worst = max(worst, (difference / max(1.0, float(other.detach().abs().max())), difference))
    return worst[1], worst[0]


def require_equal(seen: Tree, expected: Tree, tolerance: float, words: tuple[str, str]) -> None:
    """Raise FailureError with the largest difference; `words` are what differs, and the likely cause."""
    absolute, relative = gap(seen, expected)
    if not relative <= tolerance:
        raise FailureError(f"{words[0]} differ by up to {absolute:.3g} (allowed: {tolerance:g})", words[1])


def require_same_elsewhere(elsewhere: Elsewhere | None, label: str, at: str) -> str:
    """The digest that two other processes computed; raises FailureError where they differ, at `at`.

    Raises RuntimeError with the exception that one met.
    """
    if elsewhere is None:
        raise NotApplicableError("it is not a registered plugin, which another process could load by its name")
    both = elsewhere()
    for found in both:
        if "error" in found:
            raise RuntimeError(f"in another process: {found['error']}")
    mine, other = (found[label] for found in both)
    if mine != other:
        raise FailureError(f"digests {mine} and {other}", f"the order of a set, or `hash`, decides something{at}")
    return mine
