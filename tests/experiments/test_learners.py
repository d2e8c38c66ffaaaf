"""What a trial has learnt is there afterwards: it predicts as it was scored, or says in one line why it cannot."""

from __future__ import annotations

import warnings

import msgspec
import numpy as np
import pytest
import torch

import metabench
from metabench.api import Batch
from metabench.engine.problem import build_problem
from metabench.engine.run import run_trial
from metabench.engine.tasks import task_blocks
from metabench.records import states, store
from metabench.records.files import checksum
from metabench.records.states import STATE
from metabench.records.trials import Budget, Execution
from metabench.testing.toy_suites import lines
from tests import builders

pytestmark = pytest.mark.xdist_group("learners")  # what it looks at is made once

BUDGET = Budget(updates=4, meta_batch_size=2, validations=0, validation_tasks=4, test_tasks=4, test_steps=2)
GLYPHS = {"filters": 4, "shots": 1, "queries": 3, "ways": 3}
RUNS = [
    *((name, "sinusoid") for name in ("maml", "metasgd", "cavia", "l2l-maml", "torchopt-maml")),
    *((name, "glyphs") for name in ("maml", "finetune", "protonet", "nearest")),
]


def trial_of(registry, algorithm, suite, seed=0, budget=BUDGET):
    return builders.trial(
        algorithm,
        suite,
        seed,
        algorithm_parameters=registry.get("algorithm", algorithm).resolve({}),
        suite_parameters=registry.get("suite", suite).resolve(GLYPHS if suite == "glyphs" else {}),
        budget=budget,
    )


@pytest.fixture(scope="module")
def results(registry, tmp_path_factory):
    """A results folder with a trial of each of RUNS, whose states are kept, and one more seed of the first."""
    root = tmp_path_factory.mktemp("results")
    for algorithm, suite, seed in [*((*run, 0) for run in RUNS), (*RUNS[0], 1)]:
        trial = trial_of(registry, algorithm, suite, seed)
        store.write(root, run_trial(trial, Execution(keep_state=True), lambda sign: None, registry))
    return root


def first_test_task(learner):
    block = task_blocks(learner.suite, learner.trial.suite, "test", 4, "cpu")[0]
    return Batch(*(leaf[0] for leaf in block.support)), Batch(*(leaf[0] for leaf in block.query))


@pytest.mark.parametrize(("algorithm", "suite"), RUNS)
def test_it_predicts_as_it_was_scored(results, algorithm, suite):
    learner = metabench.load_learner(results, algorithm, suite=suite, seed=0)
    support, query = first_test_task(learner)
    scores = store.scores(results, learner.record)[next(iter(learner.record.tests))]
    for steps in range(3):
        predicted = learner.adapt(*support, steps=steps)(query.x)
        if suite == "sinusoid":
            assert float((predicted - query.y).square().mean()) == pytest.approx(scores["mse"][steps][0], rel=1e-4)
        else:
            assert float((predicted == query.y).float().mean()) == pytest.approx(scores["accuracy"][steps][0])


def test_arrays_of_any_kind_give_the_same(results):
    learner = metabench.load_learner(results, "maml", suite="glyphs")
    support, query = first_test_task(learner)
    told = learner.adapt(*support)
    names = np.array(["ax", "bow", "cup"])
    predict = learner.adapt(support.x.numpy(), names[support.y.numpy()], protocol="transductive")
    assert (predict(query.x.numpy()) == names[told(query.x).numpy()]).all()
    assert predict.classes == list(dict.fromkeys(names[support.y.numpy()]))
    assert isinstance(predict.outputs(query.x.numpy()), np.ndarray)
    listed = learner.adapt(support.x.double(), [{0: "x", 1: 2, 2: 3.5}[int(y)] for y in support.y])(query.x)
    assert set(listed) <= {"x", 2, 3.5}
    few = support.y != 2
    fewer = learner.adapt(support.x[few], support.y[few], steps=0)
    assert 2 not in fewer(query.x)
    one = learner.adapt(*support, protocol="inductive")
    assert torch.allclose(one.outputs(query.x)[:2], one.outputs(query.x[:2]), atol=1e-5)
    assert not torch.allclose(told.outputs(query.x)[:2], told.outputs(query.x[:2]), atol=1e-5)


@pytest.mark.parametrize(("algorithm", "suite"), RUNS)
def test_the_module_is_the_suites_own(results, algorithm, suite):
    """Where it predicts otherwise than the learner before its first step, it says so."""
    learner = metabench.load_learner(results, algorithm, suite=suite, seed=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        module = learner.module()
    own = learner.suite.model()
    assert type(module) is type(own)
    own.load_state_dict(module.state_dict())
    _, query = first_test_task(learner)
    same = torch.allclose(
        learner.adapt(*first_test_task(learner)[0], steps=0).outputs(query.x), own(query.x), atol=1e-4
    )
    assert same != bool(said)
    assert same == (algorithm not in ("cavia", "protonet", "nearest"))
    initial = build_problem(learner.suite, 0).init()
    moved = [name for name, weight in module.named_parameters() if not torch.equal(weight, initial[name])]
    assert len(moved) >= len(initial) - 2 - 2 * (algorithm == "cavia") or algorithm == "nearest"


BAD = [
    ((np.zeros((5, 2)), np.zeros(5)), r"shape \(points, 1\).* not \(5, 2\)"),
    ((np.zeros(5), np.zeros(4)), "4 points, and support_x 5"),
    ((np.zeros(5, np.uint8), np.zeros(5)), "scaled as the suite's"),
    (([], []), "holds no point"),
    ((["a"], [0.0]), "an array of numbers"),
    (([float("nan")], [0.0]), "not finite"),
    (([0.0], [[0.0], [0.0, 1.0]]), "support_y must be an array"),
]


@pytest.mark.parametrize(("arrays", "said"), BAD)
def test_arrays_that_do_not_fit_are_refused(results, arrays, said):
    learner = metabench.load_learner(results, "maml", suite="sinusoid", seed=0)
    with pytest.raises(metabench.UserError, match=said):
        learner.adapt(*arrays)


def test_labels_that_do_not_fit_are_refused(results):
    learner = metabench.load_learner(results, "maml", suite="glyphs")
    support, query = first_test_task(learner)
    for labels, said in (([0, 1], "2 labels, and support_x 3"), (support.y[:, None], "one label a point")):
        with pytest.raises(metabench.UserError, match=said):
            learner.adapt(support.x, labels)
    with pytest.raises(metabench.UserError, match="4 classes, and the learner tells 3 apart"):
        learner.adapt(torch.cat([support.x, query.x[:1]]), list("abcd"))
    with pytest.raises(metabench.UserError, match="diverged"):
        metabench.load_learner(results, "maml", suite="sinusoid", seed=0).adapt([1e30], [0.0])([1.0])
    for steps in (-1, 1.5, True):
        with pytest.raises(metabench.UserError, match="steps must be"):
            learner.adapt(*support, steps=steps)
    with pytest.raises(metabench.UserError, match="protocol must be"):
        learner.adapt(*support, protocol="both ways")


CHOICES = [
    ({}, "10 trials fit.* algorithm: .*suite: "),
    ({"algorithm": "maml", "suite": "sinusoid"}, "2 trials fit.* seed: 0, 1"),
    ({"algorithm": "malm"}, "no algorithm 'malm'. Did you mean 'maml'"),
    ({"algorithm": "maml", "suite": "glyph"}, "no suite 'glyph'. Did you mean 'glyphs'"),
    ({"algorithm": "maml", "seed": 7}, "seed 7; there is 0, 1"),
    ({"algorithm": "maml", "shots": 9}, "shots 9; there is"),
    ({"algorithm": "maml", "shot": 9}, "no setting 'shot'. Did you mean 'shots'"),
    ({"trial": "glyphs-maml-s0-0"}, "no trial 'glyphs-maml-s0-0'. Did you mean 'glyphs-maml-s0-"),
]


@pytest.mark.parametrize(("choice", "said"), CHOICES)
def test_a_choice_that_is_none_is_refused(results, choice, said):
    with pytest.raises(metabench.UserError, match=said):
        metabench.load_learner(results, **choice)


def test_settings_choose(results):
    assert metabench.load_learner(results, "maml", ways=3).trial.suite == "glyphs"
    assert metabench.load_learner(results, "maml", suite="sinusoid", seed=1).trial.seed == 1


def copied(results, tmp_path, **changes):
    """A folder with one trial's record, changed; and the state beside it."""
    record = metabench.load_learner(results, "maml", suite="sinusoid", seed=0).record
    folder = tmp_path / record.trial.id
    folder.mkdir()
    (folder / STATE).write_bytes((results / record.trial.id / STATE).read_bytes())
    (folder / "scores.json").write_bytes((results / record.trial.id / "scores.json").read_bytes())
    (folder / "record.json").write_bytes(store.seal(msgspec.structs.replace(record, **changes)))
    return folder


def loading(root):
    with pytest.raises(metabench.UserError) as error:
        metabench.load_learner(root)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_state_that_is_not_there_or_not_whole_is_refused(results, tmp_path):
    folder = copied(results, tmp_path)
    (folder / STATE).write_bytes(b"PK")
    assert "is not what was written; `metabench clean" in loading(tmp_path)
    (folder / STATE).unlink()
    assert "its state.pt was removed" in loading(tmp_path)


def test_a_state_that_was_not_kept_is_refused(results, tmp_path):
    copied(results, tmp_path, state_sha256="")
    assert "its state was not kept" in loading(tmp_path)


def test_a_failed_trial_is_refused(results, tmp_path):
    copied(results, tmp_path, status="diverged", reason="the loss was nan")
    assert "is 'diverged', it learnt nothing to use: the loss was nan" in loading(tmp_path)


def test_changed_code_is_refused_unless_asked_for(results, tmp_path):
    record = metabench.load_learner(results, "maml", suite="sinusoid", seed=0).record
    old = msgspec.structs.replace(
        record.provenance, digests=msgspec.structs.replace(record.provenance.digests, algorithm="0123456789ab")
    )
    copied(results, tmp_path, provenance=old)
    assert "the code of algorithm 'maml' changed since" in loading(tmp_path)
    assert metabench.load_learner(tmp_path, changed_code=True).trial.algorithm == "maml"


@pytest.mark.parametrize(
    ("header", "said"),
    [({"version": 99}, "it has version 99"), ({"edition": 1}, "edition 1"), ({"id": "other"}, "that of 'other'")],
)
def test_a_state_of_another_kind_is_refused(results, tmp_path, header, said):
    folder = copied(results, tmp_path)
    state = torch.load(folder / STATE, weights_only=True)
    state["header"] |= header
    torch.save(state, folder / STATE)
    copied_again = folder / "record.json"
    record = store.decode(copied_again.read_bytes(), copied_again)
    sealed = msgspec.structs.replace(record, state_sha256=checksum((folder / STATE).read_bytes()))
    copied_again.write_bytes(store.seal(sealed))
    assert said in loading(tmp_path)


def test_the_file_says_what_it_is_without_metabench(results):
    record = metabench.load_learner(results, "maml", suite="sinusoid", seed=0).record
    path = results / record.trial.id / STATE
    header = torch.load(path, weights_only=True)["header"]
    assert header["id"] == record.trial.id
    assert header["trial"]["suite_parameters"] == record.trial.suite_parameters
    assert header["digests"]["suite"] == record.provenance.digests.suite
    assert path.stat().st_size < 20_000


def test_loading_leaves_random_streams_alone(results):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    metabench.load_learner(results, "l2l-maml")
    assert torch.equal(torch.rand(1), expected)


def test_states_are_kept_by_default_and_not_committed(registry, tmp_path):
    trial = trial_of(registry, "maml", "sinusoid")
    outcome = run_trial(trial, Execution(keep_state=True), lambda sign: None, registry)
    store.write(tmp_path, outcome)
    assert STATE in (tmp_path / ".gitignore").read_text(encoding="utf-8").splitlines()
    store.write(tmp_path, msgspec.structs.replace(outcome, state=None))
    assert not (tmp_path / trial.id / STATE).exists()
    untested = trial_of(registry, "maml", "sinusoid", budget=msgspec.structs.replace(BUDGET, test_tasks=0))
    assert run_trial(untested, Execution(keep_state=True), lambda sign: None, registry).state is None


def test_a_state_that_cannot_be_written_costs_nothing_else(registry, tmp_path, monkeypatch):
    whole = states.write_atomically

    def full(path, content):
        if path.name == STATE:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(states, "write_atomically", full)
    trial = builders.trial()
    store.write(tmp_path, msgspec.structs.replace(builders.outcome(trial), state=b"state"))
    record = store.record_of(tmp_path, trial.id)
    assert record.status == "ok"
    assert record.provenance.notice == "its state.pt could not be kept: No space left on device"
    assert record.state_sha256 == ""


class Strange:
    """A learner whose state holds what cannot be read back safely."""

    trainable = False

    def adapt(self, support, steps):
        for _ in range(steps + 1):
            yield [lambda x: x] * len(support.x)

    def state_dict(self):
        return {"function": print}


def test_a_state_that_cannot_be_kept_costs_nothing_else(registry):
    strange = registry.get("algorithm", "maml")._replace(factory=lambda problem: Strange(), parameters={})
    suite = registry.get("suite", "sinusoid")._replace(factory=lines, parameters={})
    known = registry._replace(algorithms={"strange": strange}, suites={"lines": suite})
    outcome = run_trial(
        builders.trial("strange", "lines", budget=BUDGET), Execution(keep_state=True), lambda sign: None, known
    )
    assert outcome.record.status == "ok"
    assert outcome.state is None
    assert outcome.record.provenance.notice.startswith("its state could not be kept: ")
