"""The conformance kit on plugins that are wrong on purpose: each is caught by the check named for it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from metabench.api import Algorithm, Batch, Recipe, Task, sgd, unroll
from metabench.registry import Registry
from metabench.testing import check_algorithm, check_suite
from metabench.testing.suites import SuiteCase
from metabench.testing.toys import clouds, lines
from metabench.trees import map_tree


def right(problem, *, inner_lr: float = 0.05):
    """MAML, as it should be."""
    inner = sgd(problem, inner_lr)

    def objective(meta, task, progress):
        return problem.loss(unroll(inner, meta, task.support, 1), task.query)

    return Algorithm(problem.init, inner.start, inner.step, inner.predict, objective)


def first_order_posing_as_second(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)

    def step(meta, fast, support, i):
        slopes = made.step(meta, fast, support, i)
        return {name: fast[name] + (slopes[name] - fast[name]).detach() for name in fast}

    def objective(meta, task, progress):
        return problem.loss(step(meta, meta, task.support, 0), task.query)

    return made._replace(step=step, objective=objective)


def edits_its_input(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)

    def start(meta, support):
        support.x.mul_(1.01)
        return meta

    return made._replace(start=start)


def ignores_the_support_set(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)
    return made._replace(
        step=lambda meta, fast, support, i: fast,
        objective=lambda meta, task, progress: problem.loss(meta, task.query),
    )


def climbs(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)

    def meta_grad(meta, task, progress):
        from metabench.api import value_and_grad

        loss, slopes = value_and_grad(made.objective)(meta, task, progress)
        return loss, map_tree(torch.neg, slopes)

    return made._replace(meta_grad=meta_grad, objective=None)


def draws_from_the_global_state(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)
    return made._replace(init=lambda: {n: w + 0.1 * torch.randn_like(w) for n, w in problem.init().items()})


class Forgetful:
    """A learner whose state leaves out its optimiser."""

    trainable = True

    def __init__(self, problem):
        from metabench.lift import lift

        self.inside = lift(right(problem))

    def update(self, tasks, progress):
        return self.inside.update(tasks, progress)

    def adapt(self, support, steps):
        return self.inside.adapt(support, steps)

    def state_dict(self):
        return {"meta": self.inside.state_dict()["meta"]}

    def load_state_dict(self, state):
        self.inside.load_state_dict(state | {"optimizer": self.inside.state_dict()["optimizer"]})


class Leaky(Forgetful):
    """A learner that adapts every task to all of the tasks."""

    def adapt(self, support, steps):
        mixed = map_tree(lambda leaf: leaf.mean(0, keepdim=True).expand_as(leaf).to(leaf.dtype), support.x)
        return self.inside.adapt(Batch(mixed, support.y), steps)

    def state_dict(self):
        return self.inside.state_dict()

    def load_state_dict(self, state):
        self.inside.load_state_dict(state)


class Bookkeeping(Leaky):
    """A learner that remembers how many tasks it has met, and lets it slip into what it predicts."""

    def adapt(self, support, steps):
        self.met = getattr(self, "met", 0) + len(support.x)
        return self.inside.adapt(Batch(support.x + 1e-3 * self.met, support.y), steps)


def forgetful(problem, *, inner_lr: float = 0.05):
    return Forgetful(problem)


def leaky(problem, *, inner_lr: float = 0.05):
    return Leaky(problem)


def bookkeeping(problem, *, inner_lr: float = 0.05):
    return Bookkeeping(problem)


def batch_dependent(problem, *, inner_lr: float = 0.05):
    made = right(problem, inner_lr=inner_lr)

    def step(meta, fast, support, i):
        batched = torch._C._are_functorch_transforms_active()
        return map_tree(lambda w: w * (0.9 if batched else 1.0), made.step(meta, fast, support, i))

    return made._replace(step=step)


ZOO = {
    first_order_posing_as_second: "gradient-exact",
    edits_its_input: "inputs-untouched",
    ignores_the_support_set: "support-matters",
    climbs: "learns",
    draws_from_the_global_state: "reproducible",
    forgetful: "state-round-trip",
    leaky: "tasks-isolated",
    batch_dependent: "batched-equals-loop",
}


def failed(results):
    return {result.check: result.message for result in results if result.verdict == "failed"}


def test_the_right_one_passes():
    results = check_algorithm(right)
    assert {result.verdict for result in results} == {"passed"}


@pytest.mark.parametrize("wrong", ZOO, ids=lambda wrong: wrong.__name__)
def test_every_wrong_algorithm_is_caught_by_its_check(wrong):
    assert ZOO[wrong] in failed(check_algorithm(wrong))


def test_adapting_must_not_change_the_learner():
    assert "inputs-untouched" in failed(check_algorithm(bookkeeping))


def test_an_exception_is_a_failure_with_its_reason():
    def raising(problem, *, lr: float = 0.1):
        raise KeyError("oops")

    assert set(failed(check_algorithm(raising)).values()) == {"on lines: KeyError: 'oops'"}


def suite_results(suite):
    return failed(check_suite(SuiteCase(suite, "toy", Registry({}, {}, ()))))


def sample_with(change):
    def sample(split, n, generator):
        return change(lines().sample(split, n, generator), generator)

    return lines()._replace(sample=sample)


def noisy(tasks, generator):
    noise = torch.randn_like(tasks.support.x)
    return tasks._replace(support=Batch(tasks.support.x + noise, tasks.support.y))


WRONG_SUITES = {
    "reproducible": sample_with(noisy),
    "shapes": sample_with(lambda tasks, generator: Task(*(Batch(b.x.double(), b.y) for b in tasks))),
    "disjoint-splits": clouds()._replace(groups=lambda split: frozenset({"a"})),
    "judges": lines()._replace(metrics=lambda predict, batch: {"mse": (predict(batch.x) - batch.y).square()}),
    "ways": clouds()._replace(ways=2),
    "batchable": lines()._replace(loss=lambda predict, batch: torch.zeros(()) * predict(batch.x).sum()),
    "model-seeded": lines()._replace(model=lambda: numpy_weights(lines().model())),
}


def numpy_weights(module):
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.from_numpy(np.random.randn(*weight.shape)))
    return module


@pytest.mark.parametrize("suite", [lines(), clouds()])
def test_the_toys_pass(suite):
    assert suite_results(suite) == {}


@pytest.mark.parametrize("check", WRONG_SUITES)
def test_every_wrong_suite_is_caught_by_its_check(check):
    assert check in suite_results(WRONG_SUITES[check])


def test_recipes_that_name_what_is_not_there(registry):
    entry = registry.suites["sinusoid"]
    for recipe, message in (
        (Recipe("x", suite={"shot": 1}), "recipe 'wrong': Suite 'sinusoid' has no parameter 'shot'."),
        (Recipe("x", budget={"epochs": 1}), "recipe 'wrong' has no budget field 'epochs'"),
        (Recipe("x", algorithms={"maml": {"lr": 1}}), "recipe 'wrong': Algorithm 'maml' has no parameter 'lr'."),
    ):
        suite = entry.factory()._replace(recipes={"wrong": recipe})
        results = failed(check_suite(SuiteCase(suite, "sinusoid", registry)))
        assert set(results) == {"recipes"}
        assert results["recipes"].startswith(message)


OURS = ["sinusoid", "glyphs", *(["omniglot"] if os.environ.get("METABENCH_DATA") else [])]


@pytest.mark.parametrize("name", OURS)
def test_our_suites_pass(registry, name):
    assert failed(check_suite(SuiteCase(registry.suites[name].factory(), name, registry))) == {}
