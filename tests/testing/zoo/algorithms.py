"""Algorithms that are wrong on purpose, each in one way. It is a plugin: `metabench check NAME --plugin` takes it."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from metabench.api import Algorithm, Batch, Rate, hookimpl, map_tree, sgd, unroll, value_and_grad
from metabench.engine.learner import as_learner


def right(problem, *, inner_lr: Rate = 0.05, outer_lr: Rate = 1e-3):
    """The query loss after an inner step, as it should be.

    Args:
        inner_lr: Step size of the inner loop.
        outer_lr: Learning rate of Adam.
    """
    inner = sgd(problem, inner_lr)

    def objective(meta, task, progress):
        return problem.loss(unroll(inner, meta, task.support, 1), task.query)

    return Algorithm(problem.init, inner, objective, optimizer=partial(torch.optim.Adam, lr=outer_lr))


def with_step(problem, step):
    """`right` with another inner step, in its objective too."""
    inner = sgd(problem, 0.05)._replace(step=step)

    def objective(meta, task, progress):
        return problem.loss(step(meta, meta, task.support, 0), task.query)

    return right(problem)._replace(inner=inner, objective=objective)


def raises(problem):
    raise KeyError("oops")


def first_order_posing_as_second(problem):
    inner = sgd(problem, 0.05)

    def step(meta, fast, support, i):
        after = inner.step(meta, fast, support, i)
        return {name: fast[name] + (after[name] - fast[name]).detach() for name in fast}

    return with_step(problem, step)


def edits_its_input(problem):
    def start(meta, support):
        support.x.mul_(1.01)
        return meta

    return right(problem)._replace(inner=sgd(problem, 0.05)._replace(start=start))


def ignores_the_support_set(problem):
    """Its weights stay where they are."""
    return right(problem)._replace(
        inner=sgd(problem, 0.05)._replace(step=lambda meta, fast, support, i: fast),
        objective=lambda meta, task, progress: problem.loss(meta, task.query),
    )


def adapts_to_the_query_set_in_training(problem):
    made = right(problem)

    def objective(meta, task, progress):
        return problem.loss(unroll(made.inner, meta, task.query, 1), task.query)

    return made._replace(objective=objective)


def inner_learning_rate_ignored(problem, *, inner_lr: Rate = 0.05):
    """It does as it likes.

    Args:
        inner_lr: Step size of the inner loop, or so it says.
    """
    return right(problem)


def outer_learning_rate_ignored(problem, *, outer_lr: Rate = 1e-3):
    """It does as it likes.

    Args:
        outer_lr: Learning rate of Adam, or so it says.
    """
    return right(problem)


def parameter_unexplained(problem, *, inner_lr: Rate = 0.05, outer_lr: Rate = 1e-3):
    """It says nothing of its second parameter.

    Args:
        inner_lr: Step size of the inner loop.
    """
    return right(problem, inner_lr=inner_lr, outer_lr=outer_lr)


def parameter_without_a_range(problem, *, inner_lr: Rate = 0.05, outer_lr: float = 1e-3):
    """It takes any number for its second parameter.

    Args:
        inner_lr: Step size of the inner loop.
        outer_lr: Learning rate of Adam.
    """
    return right(problem, inner_lr=inner_lr, outer_lr=outer_lr)


def wrong_sign(problem):
    made = right(problem)

    def meta_grad(meta, task, progress):
        loss, grads = value_and_grad(made.objective)(meta, task, progress)
        return loss, map_tree(torch.neg, grads)

    return made._replace(meta_grad=meta_grad, objective=None)


def wrong_inner_sign(problem):
    return with_step(problem, sgd(problem, -0.05).step)


def draws_from_the_global_state(problem):
    made = right(problem)
    return made._replace(init=lambda: {n: w + 0.1 * torch.randn_like(w) for n, w in problem.init().items()})


def hangs_on_the_hash_seed(problem):
    def init():
        return {name: w + 0.01 * (hash(name) % 1000 / 1000) for name, w in problem.init().items()}

    return right(problem)._replace(init=init)


def loses_float64(problem):
    inner = sgd(problem, 0.05)

    def step(meta, fast, support, i):
        after = inner.step(meta, fast, support, i)
        return {name: fast[name] + (after[name] - fast[name]).float() for name in fast}

    return with_step(problem, step)


def batch_dependent(problem):
    inner = sgd(problem, 0.05)

    def step(meta, fast, support, i):
        batched = torch._C._are_functorch_transforms_active()
        return map_tree(lambda w: w * (0.9 if batched else 1.0), inner.step(meta, fast, support, i))

    return right(problem)._replace(inner=inner._replace(step=step))


class Around:
    """A Learner that hands everything on to `right`."""

    trainable = True

    def __init__(self, problem):
        self.problem = problem
        self.inside = as_learner(right(problem))

    def update(self, tasks, progress):
        return self.inside.update(tasks, progress)

    def adapt(self, support, steps):
        return self.inside.adapt(support, steps)

    def state_dict(self):
        return self.inside.state_dict()

    def load_state_dict(self, state):
        self.inside.load_state_dict(state)


class StateNotSaved(Around):
    """Its state leaves out the optimiser."""

    def state_dict(self):
        return {"meta": self.inside.state_dict()["meta"]}

    def load_state_dict(self, state):
        self.inside.load_state_dict(state | {"optimizer": self.inside.state_dict()["optimizer"]})


class KeepsItsGraph(Around):
    """Its state holds on to the update that made it."""

    def __init__(self, problem):
        super().__init__(problem)
        self.trace = torch.zeros(())

    def update(self, tasks, progress):
        self.trace = self.trace + torch.ones((), requires_grad=True)
        return self.inside.update(tasks, progress)

    def state_dict(self):
        return self.inside.state_dict() | {"trace": self.trace}


class LeaksBetweenTasks(Around):
    """It adapts every task to a little of all of the tasks."""

    def adapt(self, support, steps):
        return self.inside.adapt(Batch(support.x + 0.01 * support.x.mean(0, keepdim=True), support.y), steps)


class BatchNormOverTasks(Around):
    """It normalises its inputs by the statistics of the points of all tasks at once."""

    def adapt(self, support, steps):
        norm = nn.BatchNorm1d(support.x.shape[-1], affine=False, track_running_stats=False).to(support.x.dtype)
        return self.inside.adapt(Batch(norm(support.x.flatten(0, 1)).view_as(support.x), support.y), steps)


class RunningStatisticsOfTestTasks(Around):
    """Each task is normalised by running statistics that adapting to the last one has moved."""

    def __init__(self, problem):
        super().__init__(problem)
        self.norm = None

    def adapt(self, support, steps):
        self.norm = self.norm or nn.BatchNorm1d(support.x.shape[-1], affine=False).to(support.x.dtype)
        x = torch.stack([copy.deepcopy(self.norm).eval()(task) for task in support.x])
        self.norm.train()(support.x[-1])
        return self.inside.adapt(Batch(x, support.y), steps)


class ReadsQueryLabels(Around):
    """It looks behind its support labels, which are a view of all labels in many suites."""

    def adapt(self, support, steps):
        whole = support.y._base
        hint = 0.0 if whole is None else 1e-3 * (whole[:, -1:].to(support.x.dtype)).view(len(whole), 1, 1)
        return self.inside.adapt(Batch(support.x + hint, support.y), steps)


def race(problem):
    """Its inner loss reads the support set from a dict that all threads share."""
    inner, now = sgd(problem, 0.05), {}

    def step(meta, fast, support, i):
        now["support"] = support
        middle = inner.step(meta, fast, now["support"], i)
        return inner.step(meta, middle, now["support"], i)

    return with_step(problem, step)


def of_weights_and(problem, more, step=None, start=lambda meta: meta["weights"]):
    """`right` with something more in its state: `more` gives it for a weight like it."""
    inner = sgd(problem, 0.05)
    inner = inner._replace(start=lambda meta, support: start(meta), step=step or inner.step)

    def init():
        weights = problem.init()
        return {"weights": weights, "more": more(next(iter(weights.values())))}

    def objective(meta, task, progress):
        return problem.loss(unroll(inner, meta, task.support, 1), task.query)

    return right(problem)._replace(init=init, inner=inner, objective=objective)


def draws_by_a_seed_of_its_own(problem):
    """Its weights have noise on them that is the same at every seed."""

    def noise(like):
        return torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)

    def start(meta):
        return map_tree(lambda weight: weight + 0.01 * meta["more"].mean(), meta["weights"])

    return of_weights_and(problem, noise, start=start)


def rates_for_five_steps_alone(problem):
    """It learns a rate for each of five inner steps, and has none for a sixth."""
    inner = sgd(problem, 1.0)

    def step(meta, fast, support, i):
        after = inner.step(meta, fast, support, i)
        return map_tree(lambda old, new: old + meta["more"][i] * (new - old), fast, after)

    return of_weights_and(problem, lambda like: [like.new_tensor(0.05)] * 5, step)


def learner(kind):
    """The factory of a Learner that takes the problem alone."""
    return lambda problem: kind(problem)


ZOO = {
    "raises": (raises, "runs"),
    "loses-float64": (loses_float64, "float64-kept"),
    "leaks-between-tasks": (learner(LeaksBetweenTasks), "tasks-isolated"),
    "batchnorm-over-tasks": (learner(BatchNormOverTasks), "tasks-isolated"),
    "running-statistics": (learner(RunningStatisticsOfTestTasks), "learner-untouched"),
    "edits-its-input": (edits_its_input, "inputs-untouched"),
    "reads-query-labels": (learner(ReadsQueryLabels), "query-unread"),
    "ignores-the-support-set": (ignores_the_support_set, "support-matters"),
    "wrong-inner-sign": (wrong_inner_sign, "adapts"),
    "adapts-to-the-query-set": (adapts_to_the_query_set_in_training, "support-trains"),
    "batch-dependent": (batch_dependent, "batched-equals-loop"),
    "first-order-as-second": (first_order_posing_as_second, "gradient-exact"),
    "wrong-sign": (wrong_sign, "learns"),
    "inner-lr-ignored": (inner_learning_rate_ignored, "learning-rates"),
    "outer-lr-ignored": (outer_learning_rate_ignored, "learning-rates"),
    "parameter-unexplained": (parameter_unexplained, "parameters-explained"),
    "parameter-without-a-range": (parameter_without_a_range, "parameters-ranged"),
    "race": (race, "threads"),
    "constant-seed": (draws_by_a_seed_of_its_own, "algorithm-seeded"),
    "five-steps-alone": (rates_for_five_steps_alone, "runs"),
    "keeps-its-graph": (learner(KeepsItsGraph), "state-round-trip"),
    "state-not-saved": (learner(StateNotSaved), "state-round-trip"),
    "global-random-state": (draws_from_the_global_state, "reproducible"),
    "hash-seed": (hangs_on_the_hash_seed, "other-process"),
}
"""By name: the factory, and the check that is named for what is wrong with it."""


@hookimpl
def register_algorithms():
    return {name: factory for name, (factory, _) in ZOO.items()}
