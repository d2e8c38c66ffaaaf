"""Trained at some ways and tested at others: who can do that, as the algorithm for those ways does."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from metabench.api import cross
from metabench.engine.build import build_algorithm, build_suite
from metabench.engine.guards import same
from metabench.engine.learner import adapt_fully, as_learner
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.errors import UserError
from metabench.records.trials import Budget, Execution
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench.testing.toy_suites import lines
from tests import builders
from tests.engine.test_resume import trial_of

BUDGET = Budget(updates=4, meta_batch_size=2, validations=1, validation_tasks=4, test_tasks=8, test_steps=1)


@pytest.fixture
def trial(tmp_path, registry):
    """`trial(algorithm, test_ways=5 ...)`: on features of 25 classes, 5 of them in the test."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", features=rng.normal(size=(150, 3)), labels=np.arange(150) % 25)

    def call(algorithm, **given):
        made = trial_of(registry, algorithm, "features", budget=BUDGET)
        given = {"path": str(tmp_path / "data.npz"), "ways": 3, "queries": 2, **given}
        made.suite_parameters.update(registry.get("suite", "features").resolve(given))
        return made

    return call


def ran(registry, trial):
    return run_trial(trial, Execution(strategy="threaded"), lambda sign: None, registry)


@pytest.mark.parametrize("ways", [2, 5])
@pytest.mark.parametrize("algorithm", ["protonet", "r2d2", "unicorn", "protomaml", "scratch"])
def test_what_is_learnt_of_no_class_is_tested_at_other_ways(registry, trial, algorithm, ways):
    outcome = ran(registry, trial(algorithm, test_ways=ways))
    assert outcome.record.status == "ok", outcome.record.reason
    (scores,) = outcome.scores.values()
    correct = np.array(scores["accuracy"]) * ways * 2
    assert np.allclose(correct, correct.round(), atol=1e-4)


def test_the_training_is_that_of_ways_and_the_test_that_of_the_algorithm_for_test_ways(registry, trial):
    suites, learners = [], []
    for each in (trial("r2d2", test_ways=5), trial("r2d2"), trial("r2d2", ways=5)):
        suites.append(build_suite(registry, each))
        learners.append(as_learner(build_algorithm(registry, suites[-1], each, "cpu"), "threaded"))
    apart, narrow, wide = learners
    tasks, tests = (suites[0].sample(split, 2, random_generator("tasks")) for split in ("train", "test"))
    for learner in (apart, narrow):
        learner.update(tasks, 0.0)
    assert same(apart.meta, narrow.meta)
    wide.load_state_dict(apart.state_dict())
    for ours, theirs in zip(adapt_fully(apart, tests.support, 1), adapt_fully(wide, tests.support, 1), strict=True):
        assert ours(tests.query.x[0]).shape == (10, 5)
        assert torch.equal(ours(tests.query.x[0]), theirs(tests.query.x[0]))


@pytest.mark.parametrize("algorithm", ["maml", "anil", "finetune", "l2l-maml"])
def test_who_learns_something_of_a_class_does_not_fit(registry, trial, algorithm):
    record = ran(registry, trial(algorithm, test_ways=5)).record
    assert record.status == "unfit"
    assert "test_ways" in record.reason


def test_two_suites_are_crossed_where_their_tests_have_the_same_ways(registry, trial):
    one, other = (build_suite(registry, trial("protonet", **given)) for given in ({"test_ways": 5}, {}))
    assert cross(one, one).test_ways == 5
    with pytest.raises(ValueError, match="test_ways is 5 here and None there"):
        cross(one, other)


def test_a_suite_without_the_model_for_its_test_is_refused(registry):
    entry = registry.get("suite", "sinusoid")
    mine = entry._replace(name="mine", factory=lambda: lines()._replace(test_ways=3), parameters={})
    registry = registry._replace(suites={"mine": mine})
    with pytest.raises(UserError, match="^Suite 'mine': test_ways is 3, and test_model, the model for so many"):
        build_suite(registry, builders.trial(suite="mine"))


def test_classes_are_numbered_anew_among_those_of_the_test(registry, trial):
    record = ran(registry, msgspec.structs.replace(trial("protonet", test_ways=5), label_permutations=3)).record
    assert record.status == "ok", record.reason


def test_its_suite_passes_the_kit(registry, trial):
    suite = build_suite(registry, trial("protonet", test_ways=5))
    found = check_suite(SuiteCase(suite, "features", registry))
    assert [each for each in found if each.verdict not in ("passed", "skipped")] == []
