"""Suites that collect: what a learner meets between inner steps, on torch environments that could do without."""

from __future__ import annotations

from functools import partial
from threading import Barrier

import pytest
import torch

from metabench.api import map_tree
from metabench.api.trees import flatten
from metabench.engine.evaluate import score_block
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench.errors import NotApplicableError
from metabench.registry.discovery import load_registry
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.suites.navigation import navigation
from tests.waiting import HANG

REGISTRY = load_registry()
small = partial(navigation, horizon=6, trajectories=5, width=8, activation="tanh", done="goal")


TWO_STEPS = partial(maml, inner_lr=0.3, inner_steps=2)


def learners(strategy="vectorised", make=TWO_STEPS, **parameters):
    """Two on the same suite, of which one rolls out inside the loss and the other has its trajectories collected."""
    suite = small(**{"rounds": 2, **parameters})
    collecting = suite._replace(collect=suite.acting.collect)
    made = make(build_problem(suite, 0, dtype=torch.float64))
    return [(each, as_learner(made, strategy, suite=each)) for each in (suite, collecting)]


def tasks_of(suite, split="train"):
    return map_tree(torch.Tensor.double, suite.sample(split, 3, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("strategy", ["vectorised", "threaded"])
@pytest.mark.parametrize("estimator", ["lvc", "reinforce", "dice", "loaded-dice"])
def test_the_direction_is_that_of_rolling_out_inside_the_loss(strategy, estimator):
    rolled, collected = (
        learner.direction(tasks_of(suite), 0.0) for suite, learner in learners(strategy, estimator=estimator)
    )
    for one, other in zip(flatten(rolled)[0], flatten(collected)[0], strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_returns_after_each_step_are_those_of_rolling_out():
    rolled, collected = (
        score_block(suite, learner, tasks_of(suite, "test"), 4, {"any": False})["any"]["return"]
        for suite, learner in learners()
    )
    assert len(rolled) == 5
    for one, other in zip(rolled, collected, strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    assert len({tuple(step) for step in rolled}) == 5


def test_trajectories_of_a_step_are_those_of_the_policy_that_takes_it():
    suite, learner = learners()[1]
    support = learner.collected(tasks_of(suite)).support
    assert support.x.shape == (3, 10, 6, 2)
    before = learners(make=partial(maml, inner_lr=0.0))[1][1].collected(tasks_of(suite)).support
    changed = [[not torch.equal(*rows) for rows in zip(*each)] for each in zip(support.x[:, :, 1], before.x[:, :, 1])]
    assert changed == [[False] * 5 + [True] * 5] * 3


def test_what_another_policy_did_is_weighted_by_how_much_likelier_it_is_now():
    """With all the weight on one step of one trajectory, a third as likely then: thrice the gradient."""
    suite = small(normalise=False, discount=0.0)
    problem = build_problem(suite, 0, dtype=torch.float64)
    weights, batch = problem.init(), map_tree(lambda leaf: leaf[0], tasks_of(suite)).query
    met = suite.acting.collect(partial(problem.apply, weights), batch)
    likelier = met._replace(y=met.y - torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0]).log1p())
    grads = [torch.func.grad(problem.loss)(weights, each)["head.weight"] for each in (met, likelier)]
    assert torch.allclose(grads[1], 3 * grads[0])


def test_an_algorithm_that_looks_at_the_support_set_first_is_unfit():
    def early(problem):
        made = maml(problem)

        def start(meta, support):
            return map_tree(lambda weight: weight + support.x.mean(), meta)

        return made._replace(inner=made.inner._replace(start=start))

    suite, learner = learners(make=early)[1]
    with pytest.raises(NotApplicableError, match="needs the support set before the first inner step"):
        next(learner.adapt(tasks_of(suite).support, 1))


@pytest.mark.parametrize(
    "name", "maml fomaml anil boil metasgd reptile cavia finetune maml++ imaml tnet metacurvature".split()
)
def test_whatever_descends_trains_on_what_is_collected(name):
    suite, learner = learners(make=REGISTRY.algorithms[name].factory)[1]
    before = [leaf.clone() for leaf in flatten(learner.meta)[0]]
    assert learner.update(tasks_of(suite), 0.0).isfinite()
    assert any(not torch.equal(*pair) for pair in zip(before, flatten(learner.meta)[0]))


def test_two_threads_share_the_policies_of_a_meta_batch_and_change_no_bit():
    suite = navigation(horizon=2, trajectories=2, width=4)
    made, tasks = maml(build_problem(suite, 0)), suite.sample("train", 20, torch.Generator().manual_seed(0))
    alone, shared = (as_learner(made, "vectorised", threads, suite=suite) for threads in (1, 2))
    usual, both = shared.task_meta_grad, Barrier(2, timeout=HANG)

    def once_both_are_there(*given):
        both.wait()
        return usual(*given)

    shared.task_meta_grad = once_both_are_there
    found = (flatten(learner.direction(tasks, 0.0))[0] for learner in (alone, shared))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
