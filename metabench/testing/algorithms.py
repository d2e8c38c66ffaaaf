"""The checks of an algorithm. Each states a property, and fails with the value that was seen."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Learner, Problem, Suite, Task
from metabench.lift import adapt_fully, exact_gradient, lift, map_tasks
from metabench.problem import build_problem, cast
from metabench.streams import stream
from metabench.trees import Tree, flatten, map_tree, unflatten

STEPS = 3
"""Inner steps that the checks take."""


class NotApplicableError(Exception):
    """Why a check says nothing about this plugin."""


class Case(NamedTuple):
    """One algorithm on one toy suite, in float64."""

    suite: Suite
    factory: Callable[[Problem], Any]

    def make(self) -> Any:
        """What the factory makes of a fresh problem; with ValueError it says that the problem is not for it."""
        try:
            return self.factory(build_problem(self.suite, seed=0, dtype=torch.float64))
        except ValueError as reason:
            raise NotApplicableError(str(reason)) from None

    def learner(self, strategy: str = "auto") -> Learner:
        """A fresh learner."""
        return lift(self.make(), strategy)

    def algorithm(self) -> Algorithm:
        """The algorithm, if it is one."""
        made = self.make()
        if not isinstance(made, Algorithm):
            raise NotApplicableError("it is a Learner, which batches its own tasks")
        return made

    def tasks(self, n: int, name: str = "tasks", split: str = "train") -> Task:
        """n tasks, the same for the same name."""
        return cast(self.suite.sample(split, n, stream("kit", name)), "cpu", torch.float64)


def batched_equals_loop(case: Case) -> None:
    """Updates and predictions do not depend on how tasks are batched."""
    case.algorithm()
    results = {name: after_updates(case.learner(name), case, 3) for name in ("vectorised", "threaded")}
    equal(results["vectorised"], results["threaded"], "three updates by vmap", "three updates task by task", 1e-8)


def tasks_isolated(case: Case) -> None:
    """A task's predictions do not depend on the tasks beside it, or on their order."""
    learner, tasks = case.learner(), case.tasks(4)
    together = predictions(learner, tasks)
    for i in range(4):
        alone = predictions(learner, map_tree(lambda leaf, i=i: leaf[i : i + 1], tasks))
        equal(together[i], alone[0], f"predictions for task {i} beside others", "for it alone", 1e-8)
    reverse = predictions(learner, map_tree(lambda leaf: leaf.flip(0), tasks)).flip(0)
    equal(together, reverse, "predictions", "those with the tasks in reverse order", 1e-8)


def inputs_untouched(case: Case) -> None:
    """Neither updating nor adapting writes into the tasks, and adapting leaves the learner as it was."""
    learner, tasks = case.learner(), case.tasks(4)
    before = copy.deepcopy(tasks)
    first = predictions(learner, tasks)
    equal(first, predictions(learner, tasks), "predictions after adapting once", "after adapting twice", 0.0)
    if learner.trainable:
        learner.update(tasks, 0.0)
    equal(tasks, before, "the tasks", "their values before", 0.0)


def gradient_exact(case: Case) -> None:
    """Where an objective is claimed, meta_grad is its gradient: central differences in float64 agree."""
    algorithm = case.algorithm()
    if algorithm.objective is None:
        raise NotApplicableError("it claims no objective")
    task = map_tree(lambda leaf: leaf[0], case.tasks(1))
    meta = algorithm.init()
    with torch.no_grad():
        _, gradient = (algorithm.meta_grad or exact_gradient(algorithm))(meta, task, 0.5)
        leaves, spec = flatten(meta)
        generator = stream("kit", "directions")
        for _ in range(10):
            direction = [
                torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) / leaf.numel() ** 0.5
                for leaf in leaves
            ]
            claimed = sum(float((g * d).sum()) for g, d in zip(flatten(gradient)[0], direction, strict=True))
            ends = []
            for sign in (1, -1):
                moved = [leaf + sign * 1e-5 * d for leaf, d in zip(leaves, direction, strict=True)]
                ends.append(float(algorithm.objective(unflatten(moved, spec), task, 0.5)))
            measured = (ends[0] - ends[1]) / 2e-5
            if abs(claimed - measured) > 1e-6 + 1e-4 * abs(measured):
                raise AssertionError(
                    f"along a random direction meta_grad gives {claimed:.6g}, finite differences of the objective "
                    f"{measured:.6g}; a detach or no_grad in `step` would do this"
                )


def support_matters(case: Case) -> None:
    """Other support labels lead to other predictions."""
    learner, tasks = case.learner(), case.tasks(4)
    other = tasks._replace(support=Batch(tasks.support.x, tasks.support.y.roll(1, dims=1)))
    gap = (predictions(learner, tasks) - predictions(learner, other)).abs().max()
    if float(gap) < 1e-9:
        raise AssertionError(f"with its support labels changed the predictions moved by {float(gap):.1g} only")


def learns(case: Case) -> None:
    """Meta-training lowers its own loss, or the query loss after adaptation, on the tasks that it sees."""
    learner, tasks = case.learner(), case.tasks(16)
    if not learner.trainable:
        raise NotApplicableError("nothing is meta-trained")
    before = query_loss(case, learner, tasks)
    losses = [float(learner.update(tasks, i / 60)) for i in range(60)]
    after = query_loss(case, learner, tasks)
    first, last = (sum(part) / 10 for part in (losses[:10], losses[-10:]))
    if not (after < before or last < first):
        raise AssertionError(
            f"60 updates took the query loss from {before:.4g} to {after:.4g}, and the loss that update returns "
            f"from {first:.4g} to {last:.4g}; is a sign wrong?"
        )


def state_round_trip(case: Case) -> None:
    """A learner that is given another's state goes on exactly as that one does."""
    learner, fresh = case.learner(), case.learner()
    if not learner.trainable:
        raise NotApplicableError("nothing is meta-trained")
    after_updates(learner, case, 3)
    fresh.load_state_dict(copy.deepcopy(learner.state_dict()))
    one, other = (after_updates(each, case, 2) for each in (learner, fresh))
    equal(one, other, "two more updates", "two more after state_dict and load_state_dict", 0.0)


def reproducible(case: Case) -> None:
    """The same seed gives the same bits, and the global random states are neither read nor moved."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        state = global_states()
        learner = case.learner()
        results.append(after_updates(learner, case, 3))
        if global_states() != state:
            raise AssertionError("a global random generator was used; take problem.generator(name) instead")
    equal(results[0], results[1], "the result under global seed 1", "under global seed 2", 0.0)


def predictions(learner: Learner, tasks: Task) -> Tensor:
    """The outputs (n, q, ...) for the query inputs after some inner steps."""
    with torch.no_grad():
        adapted = adapt_fully(learner, tasks.support, STEPS)
        return map_tasks(adapted, lambda predict, x: predict(x).clone(), tasks.query.x)


def query_loss(case: Case, learner: Learner, tasks: Task) -> float:
    """The mean loss on the query sets after some inner steps."""
    with torch.no_grad():
        adapted = adapt_fully(learner, tasks.support, STEPS)
        return float(map_tasks(adapted, case.suite.loss, tasks.query).mean())


def after_updates(learner: Learner, case: Case, updates: int) -> Tensor:
    """Predictions after so many updates, each on tasks of its own; after none if nothing is trained."""
    for i in range(updates if learner.trainable else 0):
        learner.update(case.tasks(4, f"update {i}"), i / updates)
    return predictions(learner, case.tasks(4))


def global_states() -> tuple[Any, ...]:
    """What the global random generators are at."""
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()


def equal(seen: Tree, expected: Tree, what: str, of_what: str, tolerance: float) -> None:
    """Raise AssertionError with the largest difference, if it is more than the tolerance times the scale."""
    for one, other in zip(flatten(seen)[0], flatten(expected)[0], strict=True):
        scale = max(1.0, float(other.detach().abs().max()))
        gap = float((one - other).detach().abs().max())
        if not gap <= tolerance * scale:
            raise AssertionError(f"{what} and {of_what} differ by up to {gap:.3g}")


CHECKS: dict[str, Callable[[Case], None]] = {
    "batched-equals-loop": batched_equals_loop,
    "tasks-isolated": tasks_isolated,
    "inputs-untouched": inputs_untouched,
    "gradient-exact": gradient_exact,
    "support-matters": support_matters,
    "learns": learns,
    "state-round-trip": state_round_trip,
    "reproducible": reproducible,
}
