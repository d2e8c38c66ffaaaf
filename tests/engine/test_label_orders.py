"""Several numberings of a task's classes: the same for all, each a permutation, and the score their mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metabench.engine.label_orders import SPREAD, averaged, renumbered
from metabench.engine.run import run_trial
from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_trials
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import load_registry
from metabench.testing.toy_suites import WAYS, clouds
from tests import builders

PLUGIN = """
from metabench.api import hookimpl
from metabench.testing.toy_suites import clouds

@hookimpl
def register_suites():
    return {"clouds": lambda: clouds()}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "plug.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return load_registry((str(path),))


def scores(registry, algorithm, **fields):
    budget = Budget(updates=2, meta_batch_size=2, validations=0, test_tasks=8, test_steps=1)
    trial = builders.trial(algorithm, "clouds", budget=budget, **fields)
    outcome = run_trial(trial, Execution(strategy="threaded"), lambda progress: None, registry)
    assert outcome.record.status == "ok", outcome.record.reason
    (found,) = outcome.scores.values()
    return {metric: np.array(steps) for metric, steps in found.items()}


def test_classes_are_numbered_anew_and_their_points_stay():
    block = clouds().sample("test", 4, torch.Generator().manual_seed(0))
    order = torch.stack([torch.randperm(WAYS, generator=torch.Generator().manual_seed(task)) for task in range(4)])
    found = renumbered(block, order)
    assert torch.equal(found.support.x, block.support.x)
    for task in range(4):
        assert torch.equal(found.query.y[task], order[task][block.query.y[task]])
        assert torch.equal(found.support.y[task], order[task][block.support.y[task]])


def test_scores_are_means_and_their_spread_is_beside_them():
    first = {"accuracy": [[0.5, 1.0]], "loss": [[1.0, 2.0]]}
    second = {"accuracy": [[0.7, 1.0]], "loss": [[3.0, 2.0]]}
    found = averaged([{"p": first}, {"p": second}])
    assert found["p"]["loss"] == [[2.0, 2.0]]
    assert found["p"]["accuracy"] == [[0.6, 1.0]]
    assert found["p"][SPREAD] == [[pytest.approx(0.1 * 2**0.5, rel=1e-5), 0.0]]


def test_who_treats_classes_alike_has_no_spread_and_who_does_not_has_one(registry):
    alike, unlike = (scores(registry, name, label_permutations=4) for name in ("protonet", "maml"))
    assert np.abs(alike[SPREAD]).max() < 1e-6
    assert np.allclose(alike["accuracy"], scores(registry, "protonet")["accuracy"])
    assert unlike[SPREAD].max() > 0
    assert not np.allclose(unlike["accuracy"], scores(registry, "maml")["accuracy"])


def test_a_suite_without_classes_is_refused(registry):
    with pytest.raises(UserError, match="--label-permutations is for classes, and suite 'sinusoid' has none"):
        plan_trials(Options(suites=("sinusoid",), algos=("maml",), label_permutations=3), registry)
    (trial, *_) = plan_trials(Options(suites=("clouds",), algos=("maml",), label_permutations=3), registry)
    assert trial.label_permutations == 3
