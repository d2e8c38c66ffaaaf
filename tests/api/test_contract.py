"""What must fit the contract later, tried in small: none of it touches the engine."""

from __future__ import annotations

import pytest
import torch

from metabench.api import Batch, Suite, Task
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench.engine.run import run_trial
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Entry, Plugin, Registry
from metabench.registry.parameters import signature_of
from metabench.testing import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench.testing.toy_suites import lines
from metabench_plugins.algorithms.metasgd import metasgd
from metabench_plugins.suites.linear_svm import linear_svm
from metabench_plugins.suites.navigation import navigation as policies
from tests import builders


def navigation() -> Suite:
    """A point in the plane walks to a goal; the noise of its policy comes with the batch (MAML, section 5.3)."""
    return policies(horizon=5, trajectories=8, width=16, activation="tanh", initial_std=0.5)


def shifted() -> Suite:
    """Trains on lines and is tested on parabolas."""

    def sample(split, n, generator):
        tasks = lines().sample(split, n, generator)
        if split == "train":
            return tasks
        return Task(*(Batch(batch.x, batch.y + batch.x.square()) for batch in tasks))

    return lines()._replace(sample=sample)


@pytest.mark.slow
@pytest.mark.parametrize("suite", [navigation, shifted, linear_svm], ids=lambda f: f.__name__)
def test_other_kinds_of_suites_fit(suite, registry):
    registry = Registry(
        registry.algorithms,
        {suite.__name__: Entry("suite", suite.__name__, suite, signature_of(suite, 0), "here")},
        (Plugin("here", "here", "1"),),
    )
    results = check_suite(SuiteCase(suite(), suite.__name__, registry))
    assert [result for result in results if result.verdict == "failed"] == []
    budget = Budget(updates=30, meta_batch_size=8, validations=2, validation_tasks=8, test_tasks=20, test_steps=2)
    trial = builders.trial("metasgd", suite.__name__, budget=budget)
    record = run_trial(trial, Execution(), lambda sign: None, registry).record
    assert (record.status, record.reason) == ("ok", "")
    assert not record.tests["inductive"].transductive


@pytest.mark.slow
def test_a_policy_learns_by_meta_training():
    suite = navigation()
    learner = as_learner(metasgd(build_problem(suite, 0), inner_lr=0.01))
    tasks = suite.sample("train", 40, torch.Generator())

    def mean_return():
        with torch.no_grad():
            *_, adapted = learner.adapt(tasks.support, 1)
            return float(adapted.map(suite.metrics, tasks.query)["return"].mean())

    before = mean_return()
    for i in range(60):
        learner.update(tasks, i / 60)
    assert mean_return() > before
