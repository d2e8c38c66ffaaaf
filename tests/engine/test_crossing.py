"""Trials on two suites: the same training as on the first, bit for bit, and the same test tasks as on the second."""

from __future__ import annotations

import msgspec
import pytest
import torch

from metabench.engine.kept_state import read_state
from metabench.engine.run import run_trial
from metabench.engine.tasks import task_blocks
from metabench.errors import UserError
from metabench.experiments.experiment import Experiment
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_experiment, plan_trials
from metabench.experiments.setup import prepare_data
from metabench.experiments.suite_builder import SuiteBuilder
from metabench.records import store
from metabench.records.checkpoints import FolderCheckpointStore
from metabench.records.record import Outcome
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry, load_registry

SHORT = {
    "updates": 3,
    "meta_batch_size": 2,
    "validations": 3,
    "validation_tasks": 4,
    "test_tasks": 6,
    "test_steps": 2,
}


PLUGIN = """
from metabench.api import Recipe, Task, hookimpl
from metabench.testing.toy_suites import clouds, lines

def one(*, far: float = 0.0, width: int = 3):
    own, shared = {"width": 4}, {"inner_lr": 0.03}
    return moved(far)._replace(recipes={"quick": Recipe("mine", suite=own, shared=shared)})

def two(*, far: float = 1.0, height: int = 5):
    own, shared = {"height": 6}, {"inner_lr": 0.2}
    return moved(far)._replace(recipes={"quick": Recipe("mine", suite=own, shared=shared)})

def moved(far):
    plain = lines()

    def sample(split, n, generator):
        support, query = plain.sample(split, n, generator)
        return Task(support._replace(x=support.x + far), query._replace(x=query.x + far))

    return plain._replace(sample=sample, digest=lambda: f"{far}")

@hookimpl
def register_suites():
    return {"one": one, "two": two, "clouds": lambda: clouds()}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    path = tmp_path_factory.mktemp("plugin") / "plug.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return load_registry((str(path),))


def planned(registry: Registry, *suites: str, **options) -> dict[str, Trial]:
    """By suite the trial of one algorithm."""
    asked = Options(suites=suites, algos=("anil",), seeds=1, **{**SHORT, **options})
    return {trial.suite: trial for trial in plan_trials(asked, registry)}


def run(registry: Registry, trial: Trial) -> Outcome:
    outcome = run_trial(trial, Execution(strategy="threaded", deterministic=True), lambda progress: None, registry)
    assert outcome.record.status == "ok", outcome.record.reason
    return outcome


def curve(outcome: Outcome) -> list:
    return [(point.update, point.train_loss, point.score, point.ci95) for point in outcome.record.curve]


def test_one_training_and_the_target_s_own_test_tasks(registry):
    found = {name: run(registry, trial) for name, trial in planned(registry, "one", "two", "one:two").items()}
    assert curve(found["one:two"]) == curve(found["one"]) != curve(found["two"])
    tests = {name: outcome.record.provenance.digests.tests for name, outcome in found.items()}
    assert tests["one:two"] == tests["two"] != tests["one"]
    assert found["one:two"].scores != found["one"].scores
    assert len({outcome.record.provenance.digests.data for outcome in found.values()}) == 3
    assert found["one:two"].record.trial.id.startswith("one--two-anil-s0-")


def test_the_target_may_judge(registry):
    (source,), (crossed,) = (
        planned(registry, name, set={"one:two": {"validate": "target"}} if ":" in name else {}).values()
        for name in ("one", "one:two")
    )
    ours, theirs = curve(run(registry, source)), curve(run(registry, crossed))
    assert [loss for _, loss, *_ in ours] == [loss for _, loss, *_ in theirs]
    assert [score for *_, score, _ in ours] != [score for *_, score, _ in theirs]


def test_a_changed_target_meets_the_same_draws(registry):
    trials = planned(registry, "two", "two:two+far=0.0")
    found = {name: run(registry, trial) for name, trial in trials.items()}
    assert curve(found["two"]) == curve(found["two:two+far=0.0"])
    builder = SuiteBuilder(registry)
    plain, changed = (
        task_blocks(builder.build(name, of.suite_parameters), of.stream("test"), "test", 6, "cpu")[0]
        for name, of in trials.items()
    )
    assert torch.equal(plain.query.y, changed.query.y)
    torch.testing.assert_close(plain.query.x, changed.query.x + 1)


def test_parameters_of_both_and_the_recipe_of_the_source(registry):
    sets = {"one": {"far": 0.5}, "two": {"far": 2.0}}
    trials = planned(registry, "one:two", "one", "two", "two:two+height=9+far=3.0", set=sets)
    crossed = trials["one:two"]
    assert crossed.suite_parameters == {
        "one.far": 0.5, "one.width": 4, "two.far": 2.0, "two.height": 6, "validate": "source",
    }  # fmt: skip
    assert crossed.algorithm_parameters == trials["one"].algorithm_parameters != trials["two"].algorithm_parameters
    changed = trials["two:two+height=9+far=3.0"]
    assert changed.suite_parameters == {"two.far": 2.0, "two.height": 6, "validate": "source"}
    assert msgspec.json.decode(msgspec.json.encode(crossed), type=Trial) == crossed


@pytest.mark.parametrize(
    ("suite", "options", "said"),
    [
        ("one:clouds", {}, "Suite 'one:clouds': one and clouds do not fit: ways is None here and 3 there"),
        ("one:three", {}, "no suite 'three'|Unknown suite 'three'"),
        ("one:two:one", {}, "has 3 suites: one to train on"),
        ("one:two+width=3", {}, "has no parameter 'width'"),
        ("two:two+far=x", {}, "Parameter 'far' of suite 'two' must be float"),
        ("one:one+rotate=x", {}, "needs a number: degrees"),
        ("one:two", {"set": {"one:two": {"validate": "test"}}}, "must be 'source' . 'target'"),
        ("one:two", {"set": {"three": {"far": 1.0}}}, "to --set"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(registry, suite, options, said):
    with pytest.raises(UserError, match=said) as refused:
        planned(registry, suite, **options)
    assert "\n" not in str(refused.value)


def test_data_that_do_not_fit_are_refused_before_the_first_trial(registry):
    builder = SuiteBuilder(registry)
    asked = Options(suites=("one:one+rotate=30",), algos=("anil",), seeds=1, **SHORT)
    with pytest.raises(UserError, match=r"Suite 'one:one\+rotate=30': 'rotate' is for images"):
        prepare_data(builder, plan_experiment(asked, builder).trials)


def test_code_is_of_both(registry):
    known, names = registry, ["one", "glyphs"]
    of = {name: known.digest("suite", name) for name in (*names, ":".join(names), f"{names[0]}+blur=1")}
    assert len(set(of.values())) == 4
    assert known.digest("suite", "no:such") == ""
    assert known.origin("suite", ":".join(names)) == "; ".join(known.origin("suite", name) for name in names)


def kept(registry: Registry, root, trial: Trial, **execution) -> Outcome:
    """Run in a results folder, as `metabench run` does."""
    how = Execution(**{"strategy": "threaded", "deterministic": True, "keep_state": True} | execution)
    outcome = run_trial(trial, how, lambda progress: None, registry, keeper=FolderCheckpointStore(root / trial.id))
    assert outcome.record.status == "ok", outcome.record.reason
    store.write(root, outcome)
    return outcome


def test_trained_once_and_tested_on_two(registry, tmp_path):
    trials = planned(registry, "one", "one:two", "one:one+far=2.0")
    alone = kept(registry, tmp_path / "together", trials["one"])
    for name in ("one:two", "one:one+far=2.0"):
        taken = kept(registry, tmp_path / "together", trials[name])
        apart = kept(registry, tmp_path / "apart", trials[name])
        assert taken.record.provenance.notice == (
            f"not trained again: it has the state and the training times of '{trials['one'].id}'"
        )
        assert apart.record.provenance.notice == ""
        assert taken.scores == apart.scores
        assert [(point.update, point.score) for point in taken.record.curve] == [
            (point.update, point.score) for point in apart.record.curve
        ]
        assert taken.record.train_seconds == alone.record.train_seconds
        assert taken.record.selected_update == apart.record.selected_update
        assert read_state(taken.state)[0]["id"] == trials[name].id
    assert [trial.suite for trial in planned(registry, "one:two", "one").values()] == ["one", "one:two"]


def test_it_begins_when_the_training_that_it_takes_has_ended(registry, tmp_path):
    trials = planned(registry, "one", "two", "one:two")
    pending = tuple(trials.values())

    def after(pending, **how) -> dict[str, str]:
        return Experiment(tmp_path, Options(), pending, pending, Execution(**how), jobs=2).after

    assert after(pending, keep_state=True) == {trials["one:two"].id: trials["one"].id}
    assert after(pending, keep_state=False) == {}
    assert after((trials["two"], trials["one:two"]), keep_state=True) == {}


@pytest.mark.parametrize("case", ["other code", "other data", "no state", "validated elsewhere", "damaged"])
def test_what_is_not_the_same_training_is_not_taken(registry, tmp_path, case):
    trials = planned(registry, "one", "one:two")
    alone = kept(registry, tmp_path, trials["one"], keep_state=case != "no state")
    digests = alone.record.provenance.digests
    changed = {"other code": {"algorithm": "0" * 12}, "other data": {"data": "0" * 12}}.get(case, {})
    provenance = msgspec.structs.replace(alone.record.provenance, digests=msgspec.structs.replace(digests, **changed))
    record = msgspec.structs.replace(alone.record, provenance=provenance)
    store.write(tmp_path, msgspec.structs.replace(alone, record=record))
    if case == "damaged":
        (tmp_path / trials["one"].id / "state.pt").write_bytes(b"nothing")
    crossed = trials["one:two"]
    if case == "validated elsewhere":
        crossed = msgspec.structs.replace(
            crossed, suite_parameters={**crossed.suite_parameters, "validate": "target"}
        )
    found = kept(registry, tmp_path, crossed).record
    assert "not trained again" not in found.provenance.notice
    assert ("cannot be used" in found.provenance.notice) == (case == "damaged")
    assert len(found.curve) == 4
