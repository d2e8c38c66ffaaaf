"""Trials on two suites: the same training as on the first, bit for bit, and the same test tasks as on the second."""

from __future__ import annotations

import msgspec
import pytest
import torch

from metabench.api import Suite, Task
from metabench.engine.run import run_trial
from metabench.engine.tasks import task_blocks
from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_experiment, plan_trials
from metabench.experiments.setup import prepare_data
from metabench.experiments.suite_builder import SuiteBuilder
from metabench.records.recipe import Recipe
from metabench.records.record import Outcome
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Entry, Registry, load_registry
from metabench.registry.parameters import signature_of
from metabench.testing.toy_suites import clouds, lines

SHORT = {
    "updates": 3,
    "meta_batch_size": 2,
    "validations": 3,
    "validation_tasks": 4,
    "test_tasks": 6,
    "test_steps": 2,
}


def one(*, far: float = 0.0, width: int = 3) -> Suite:
    """Lines. Args: far: Added to inputs. width: Of nothing."""
    return lines()._replace(recipes={"quick": Recipe("mine", suite={"width": 4}, shared={"inner_lr": 0.03})})


def two(*, far: float = 1.0, height: int = 5) -> Suite:
    """Lines, further to the right. Args: far: Added to inputs. height: Of nothing."""
    plain = lines()

    def sample(split, n, generator):
        support, query = plain.sample(split, n, generator)
        return Task(support._replace(x=support.x + far), query._replace(x=query.x + far))

    recipes = {"quick": Recipe("mine", suite={"height": 6}, shared={"inner_lr": 0.2})}
    return plain._replace(sample=sample, recipes=recipes, digest=lambda: f"{far}")


@pytest.fixture(scope="module")
def registry() -> Registry:
    known = load_registry()
    made = {"one": one, "two": two, "clouds": lambda: clouds()}
    suites = {name: Entry("suite", name, make, signature_of(make, 0), "test") for name, make in made.items()}
    return known._replace(suites=suites)


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
    known = load_registry()
    names = sorted(known.suites)[:2]
    of = {name: known.digest("suite", name) for name in (*names, ":".join(names), f"{names[0]}+blur=1")}
    assert len(set(of.values())) == 4
    assert known.digest("suite", "no:such") == ""
    assert known.origin("suite", ":".join(names)) == "; ".join(known.origin("suite", name) for name in names)
