"""Algorithms that are made for policies alone: trust regions, and the oracle that is told the goal."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from metabench.api import map_tree
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench.errors import NotApplicableError
from metabench.testing.toy_suites import lines
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.algorithms.maml_trpo import maml_trpo
from metabench_plugins.algorithms.oracle import oracle
from metabench_plugins.suites.navigation import navigation
from metabench_plugins.suites.policies import divergence

small = partial(navigation, horizon=6, trajectories=5, width=8, activation="tanh")


def problem_of(suite):
    return build_problem(suite, 0, dtype=torch.float64)


def tasks_of(suite, split="train", n=3):
    return map_tree(torch.Tensor.double, suite.sample(split, n, torch.Generator().manual_seed(0)))


def test_the_divergence_is_that_of_normal_distributions():
    torch.manual_seed(0)
    outputs = [torch.cat([torch.randn(7, 2), 0.3 * torch.randn(2).expand(7, 2)], 1) for _ in range(2)]
    before, now = (Independent(Normal(one[:, :2], one[:, 2:].exp()), 1) for one in outputs)
    assert torch.allclose(divergence(*outputs), kl_divergence(before, now).mean())
    assert float(divergence(outputs[0], outputs[0])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_an_update_goes_as_far_as_the_region_and_downhill(inner_steps):
    suite = small()
    learner = maml_trpo(problem_of(suite), inner_lr=0.3, inner_steps=inner_steps, divergence=1e-3)
    before, tasks = learner.weights, tasks_of(suite)
    met = learner.collector.tasks(learner.inner, before, tasks, inner_steps)
    with torch.no_grad():
        loss, outputs = learner.judge(before, met)
        assert torch.allclose(learner.update(tasks, 0.0), loss)
        lower, moved = learner.judge(learner.weights, met)
        assert lower < loss
        assert 2e-4 < float(divergence(outputs, moved)) <= 1e-3


def test_where_no_step_is_better_nothing_changes():
    suite = small()
    learner = maml_trpo(problem_of(suite), divergence=1e-3)
    judge = learner.judge
    learner.judge = lambda meta, met: (sum((one - one.detach()).sum() for one in meta.values()), judge(meta, met)[1])
    before = learner.weights
    learner.update(tasks_of(suite), 0.0)
    assert learner.weights is before


def test_it_adapts_as_maml_does():
    suite = small(test_rounds=2)
    problem, tasks = problem_of(suite), tasks_of(suite, "test")
    found = []
    for learner in (maml_trpo(problem, inner_lr=0.3), as_learner(maml(problem, inner_lr=0.3))):
        with torch.no_grad():
            found.append(
                [[one(tasks.query.x[0, 0]) for one in adapted] for adapted in learner.adapt(tasks.support, 2)]
            )
    for ours, mamls in zip(*found, strict=True):
        for one, other in zip(ours, mamls, strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_the_oracle_goes_by_what_it_is_told():
    suite = small()
    learner, tasks = as_learner(oracle(problem_of(suite), train_lr=0.01)), tasks_of(suite, n=2)
    for _ in range(3):
        learner.update(tasks, 0.0)
    with torch.no_grad():
        start, later = (
            [adapted[i](tasks.query.x[0, 0]) for i in (0, 1)] for adapted in learner.adapt(tasks.support, 1)
        )
    assert not torch.allclose(start[0], start[1])
    assert torch.equal(start[0], later[0])
    assert not learner.meta["linear1.told"].any()


@pytest.mark.parametrize("make", [maml_trpo, oracle])
def test_they_are_for_policies_alone(make):
    with pytest.raises(NotApplicableError):
        make(problem_of(lines()))
