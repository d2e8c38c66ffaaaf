"""The norms beside each validation are those of the last update, whatever strategy made it."""

from __future__ import annotations

import pytest
import torch

from metabench.api.trees import flatten
from metabench.engine.build import build_algorithm, build_suite
from metabench.engine.learner import as_learner
from metabench.engine.norms import Norms, WatchedUpdate, norm
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.records.trials import Budget, Execution
from tests.engine.test_resume import trial_of

BUDGET = Budget(updates=4, meta_batch_size=3, validations=2, validation_tasks=4, test_tasks=4, test_steps=1)


def test_the_norm_is_over_all_leaves():
    assert norm([torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]) == pytest.approx(5.0)


def test_they_are_those_of_the_update(registry):
    """With plain SGD an update is the learning rate times the gradient."""
    trial = trial_of(registry, "maml", budget=BUDGET)
    suite = build_suite(registry, trial)
    made = build_algorithm(registry, suite, trial, "cpu")
    made = made._replace(optimizer=lambda leaves: torch.optim.SGD(leaves, lr=0.125))
    tasks = suite.sample("train", 3, random_generator("norms"))
    learner = as_learner(made, "threaded")
    watched = WatchedUpdate(learner, tasks, 0.0)
    expected = torch.cat([leaf.flatten() for leaf in flatten(learner.direction(tasks, 0.0)[1])[0]]).norm()
    learner.update(tasks, 0.0)
    found = watched.norms()
    assert found.gradient == pytest.approx(float(expected), rel=1e-5)
    assert found.update == pytest.approx(0.125 * found.gradient, rel=1e-4)


@pytest.mark.parametrize(("algorithm", "known"), [("maml", True), ("reptile", True), ("l2l-maml", False)])
def test_every_point_but_the_first_has_them(registry, algorithm, known):
    trial = trial_of(registry, algorithm, budget=BUDGET)
    first, *rest = run_trial(trial, Execution(strategy="threaded"), lambda sign: None, registry).record.curve
    assert (first.gradient_norm, first.update_norm) == Norms()
    assert len(rest) == 2
    assert all((point.gradient_norm is not None and point.update_norm > 0) == known for point in rest)


def test_strategies_agree(registry):
    trial = trial_of(registry, "maml", budget=BUDGET)
    curves = [
        run_trial(trial, Execution(strategy=name), lambda sign: None, registry).record.curve
        for name in ("threaded", "vectorised")
    ]
    one, other = ([point.gradient_norm for point in points] for _, *points in curves)
    assert one == pytest.approx(other, rel=1e-3)
