"""Tuning: on validation tasks alone, with equal budgets, the same again after a kill, and told in the report."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from metabench.cli.commands.tune import comparison
from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_trials
from metabench.experiments.recipes import RecipeFile, Tuned, TunedSuite, encoded, is_file, read_recipe
from metabench.experiments.tuning.plan import FIRST_SEED, TuningRequest, plan_tuning
from metabench.experiments.tuning.search import MIN_ENDED, ROUND, Search, SearchSpec
from metabench.experiments.tuning.space import Dimension, default_space, given_space, spaces
from metabench.records import store
from metabench.records.locks import running
from metabench.records.record import Record
from metabench.records.trials import Budget, Trial
from metabench.report.build import build_report
from metabench.report.collect.labels import labels
from tests import builders
from tests.sketches import sketched
from tests.waiting import HANG, wait_for

SPACE = {
    "inner_lr": Dimension(kind="float", low=1e-3, high=1.0, log=True),
    "inner_steps": Dimension(kind="int", low=1, high=5),
}
BASE = Trial(
    algorithm="maml",
    algorithm_parameters={"inner_lr": 0.01, "inner_steps": 1, "outer_lr": 1e-3},
    suite="sinusoid",
    suite_parameters={"shots": 10},
    seed=FIRST_SEED,
    budget=Budget(updates=100, validations=5),
)


def spec(trials=18, seeds=(FIRST_SEED,), **changes) -> SearchSpec:
    return SearchSpec(BASE, SPACE, False, trials, seeds, 0)._replace(**changes)


def loss(trial: Trial) -> float:
    """The lower the nearer inner_lr is to 0.1; the seed matters too."""
    return abs(trial.algorithm_parameters["inner_lr"] - 0.1) + trial.seed % 10 / 100


def record_of(trial: Trial) -> Record:
    """What a made-up trial comes to: its curve falls to its loss, unless a bar ends it."""
    curve, bars = [], dict(trial.pruning_thresholds)
    for update in range(0, trial.budget.updates + 1, 20):
        score = loss(trial) + 1 - update / trial.budget.updates
        curve += builders.points({update: score})
        if score > bars.get(update, float("inf")):
            return builders.record(trial, "pruned", reason="too bad", curve=curve)
    if trial.algorithm_parameters["inner_lr"] > 0.9:
        return builders.record(trial, "diverged", reason="nan", curve=curve[:1])
    return builders.record(trial, curve=curve)


def tuned(search: Search, shuffled: random.Random | None = None) -> list[Trial]:
    """Run a search to its end; all of its trials, those of a round in any order."""
    waiting, ran = search.ask(), []
    while waiting:
        trial = waiting.pop(shuffled.randrange(len(waiting)) if shuffled else 0)
        ran.append(trial)
        waiting += search.take(record_of(trial))
    return ran


def test_every_candidate_has_the_budget_that_was_asked_for_and_no_test():
    search = Search(spec())
    trials = tuned(search)
    assert search.done
    assert len(trials) == len({trial.id for trial in trials}) == 18
    assert {trial.budget for trial in trials} == {msgspec.structs.replace(BASE.budget, test_tasks=0)}
    assert {trial.seed for trial in trials} == {FIRST_SEED}
    assert all(SPACE[name].holds(trial.algorithm_parameters[name]) for trial in trials for name in SPACE)
    assert {trial.algorithm_parameters["outer_lr"] for trial in trials} == {1e-3}


def test_it_begins_with_the_untuned_settings_and_ends_no_worse():
    search = Search(spec())
    first = tuned(search)[0]
    assert first.algorithm_parameters == BASE.algorithm_parameters
    found = search.tuned()
    assert found.untuned_score == pytest.approx(loss(BASE))
    assert found.validation_score == pytest.approx(min(loss(trial) for trial in tuned(Search(spec()))))
    assert found.validation_score < found.untuned_score


def test_candidates_do_not_depend_on_the_order_in_which_trials_end():
    usual = Search(spec())
    tuned(usual)
    for seed in range(3):
        other = Search(spec())
        tuned(other, random.Random(seed))
        assert [each.parameters for each in other.candidates] == [each.parameters for each in usual.candidates]
        assert other.tuned() == usual.tuned()


def test_more_trials_go_on_where_fewer_ended():
    few, many = Search(spec(trials=7)), Search(spec(trials=18))
    assert [t.id for t in tuned(few)] == [t.id for t in tuned(many)][:7]


def test_pruning_saves_updates_and_keeps_the_best():
    search = Search(spec(trials=40))
    trials = tuned(search)
    found = search.tuned()
    assert found.pruned >= 5
    assert found.updates_spent < 40 * 100
    assert trials[0].pruning_thresholds == ()
    later = next(trial for trial in trials if trial.pruning_thresholds)
    assert {update for update, _ in later.pruning_thresholds} == {40, 60, 80}
    best = min(loss(trial) for trial in trials if record_of(trial).status != "diverged")
    assert loss(search.best().records[0].trial) == pytest.approx(best)


def test_a_bar_is_the_median_of_those_that_were_trained_to_their_end():
    search = Search(spec())
    first = search.ask()
    records = [record_of(trial) for trial in first]
    for record in records:
        opened = search.take(record)
    ended = sorted(record.curve[2].score for record in records if record.status == "ok")
    assert MIN_ENDED <= len(ended) <= ROUND
    middle = len(ended) // 2
    median = ended[middle] if len(ended) % 2 else (ended[middle - 1] + ended[middle]) / 2
    assert dict(opened[0].pruning_thresholds)[40] == pytest.approx(median)


def test_several_seeds_are_averaged_and_pruned_by_the_first():
    seeds = (FIRST_SEED, FIRST_SEED + 1)
    search = Search(spec(trials=20, seeds=seeds))
    trials = tuned(search)
    assert {trial.seed for trial in trials} == set(seeds)
    assert all(not trial.pruning_thresholds for trial in trials if trial.seed != FIRST_SEED)
    best = search.best()
    assert search.score(best) == pytest.approx(sum(loss(record.trial) for record in best.records) / 2)
    pruned = [each for each in search.candidates if each.status == "pruned"]
    assert pruned
    assert all(len(each.records) == 1 for each in pruned)


def test_a_candidate_that_repeats_another_is_not_run_again():
    """A space of three has three candidates, however many are asked for."""
    space = {"inner_steps": Dimension(kind="choice", choices=(1, 2, 3))}
    for seeds in ((FIRST_SEED,), (FIRST_SEED, FIRST_SEED + 1)):
        search = Search(spec(trials=18, space=space, seeds=seeds))
        trials = tuned(search)
        assert search.done
        assert len(search.candidates) == search.tuned().trials == 18
        assert len(trials) == len({trial.id for trial in trials}) == 3 * len(seeds)
        assert search.tuned().updates_spent == sum(record_of(trial).curve[-1].update for trial in trials)


def test_the_untuned_settings_are_tried_to_their_last_digit():
    base = msgspec.structs.replace(BASE, algorithm_parameters={**BASE.algorithm_parameters, "inner_lr": 0.0123456})
    search = Search(spec(base=base))
    assert tuned(search)[0].algorithm_parameters == base.algorithm_parameters
    assert search.tuned().untuned_score == pytest.approx(loss(base))


def test_where_nothing_ends_well_there_is_no_result():
    search = Search(spec(trials=6))
    waiting = search.ask()
    while waiting:
        waiting += search.take(builders.record(waiting.pop(0), "error", reason="a bug"))
    assert search.done
    assert search.tuned() is None
    assert search.count("failed") == 6
    assert search.first_end == "error, a bug"


def test_the_space_is_read_from_the_signature(registry):
    entry = registry.algorithms["reptile"]
    found = default_space(entry.parameters, entry.resolve({"inner_lr": 0.3, "inner_steps": 8}))
    assert {name: str(each) for name, each in found.items()} == {
        "inner_optimizer": "sgd,adam", "inner_lr": "0.01:9:log", "inner_steps": "1:16",
        "outer_lr": "0.0333333:30:log",
    }  # fmt: skip


def test_the_user_narrows_and_widens_it(registry):
    entry = registry.algorithms["reptile"]
    texts = {"inner_lr": "0.01:1:log", "inner_steps": "1,3,5", "batch_size": "5:10", "inner_optimizer": "adam"}
    found = given_space(entry, spaces([f"reptile.{name}={text}" for name, text in texts.items()])["reptile"])
    assert found["inner_lr"] == Dimension(kind="float", low=0.01, high=1.0, log=True)
    assert found["inner_steps"].choices == (1, 3, 5)
    assert found["batch_size"] == Dimension(kind="int", low=5, high=10)
    assert found["inner_optimizer"].choices == ("adam",)
    assert {name: str(each) for name, each in found.items()} == texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maml", "Cannot read --space 'maml'. It looks like --space NAME.inner_lr=0.01:1:log"),
        ("maml.inner_rl=1:2", "Cannot use --space: algorithm 'maml' has no parameter 'inner_rl'. Did you mean"),
        ("maml.inner_lr=1:0.1", "Cannot read --space maml.inner_lr=1:0.1: ValueError: LOW must be below HIGH."),
        ("maml.inner_lr=0:1:log", "Cannot read --space maml.inner_lr=0:1:log: ValueError: a log range must begin"),
        ("maml.inner_lr=0:1:lin", "Cannot read --space maml.inner_lr=0:1:lin: ValueError: a range is LOW:HIGH or"),
        (
            "maml.inner_steps=1,fast",
            "Parameter 'inner_steps' of algorithm 'maml' must be int of at least 0, not 'fast'.",
        ),
        ("maml.inner_steps=1.5:3", "Cannot read --space maml.inner_steps=1.5:3: ValueError: invalid literal"),
        ("reptile.inner_lr=1:2", "This tuning has no algorithm for --space: 'reptile'."),
    ],
)
def test_a_space_that_cannot_be_is_one_clear_line(here, text, message):
    result = here("tune", "--algos", "maml", "--suites", "sinusoid", "--space", text)
    assert result.returncode == 2
    assert result.stderr.startswith(f"metabench: {message}")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--algos", "maml"), "Say what to tune: --algos and --suites."),
        (("--algos", "maml", "--suites", "sinusoid", "--trials", "0"), "--trials must be from 1 to 10,000, not 0."),
        (
            ("--algos", "scratch", "--suites", "sinusoid", "--set", "scratch.inner_lr=0.1"),
            "There is nothing to tune in 'scratch': name a parameter with --space.",
        ),
        (
            ("--algos", "maml,reptile", "--suites", "omniglot", "--recipe", "paper", "--data", "."),
            "Algorithms need equal budgets: on 'omniglot' the recipe gives maml 60,000, reptile 100,000 updates. "
            "Say --updates.",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--validations", "0"),
            "Tuning needs validation: --validations must be at least 1.",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--recipe", "t.toml"),
            "Tuning begins at a suite's recipe, such as quick; --recipe takes no file here.",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--config", "c.toml"),
            "Tuning begins at a suite's recipe, such as quick; --recipe takes no file here.",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--write", "tuned"),
            "A recipe file is called something.toml, not 'tuned' (--write).",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--protocol", "both"),
            "Tuning needs one score: --protocol transductive or inductive.",
        ),
        (
            ("--algos", "maml", "--suites", "sinusoid", "--set", "maml.inner_lr=1", "--space", "maml.inner_lr=1,2"),
            "'maml.inner_lr' is in both --set and --space: which of the two?",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_tuned_is_one_clear_line(here, tmp_path, words, message):
    (tmp_path / "c.toml").write_text('recipe = "t.toml"', encoding="utf-8")
    result = here("tune", *words)
    assert result.returncode == 2
    assert result.stderr.strip() == f"metabench: {message}"


def test_a_failed_candidate_ends_no_tuning(tmp_path):
    """It counts; `fail_fast` in a --config is for runs."""
    options = Options(algos=("maml",), suites=("sinusoid",), fail_fast=True, out=str(tmp_path / "t"))
    assert not plan_tuning(options, TuningRequest(2, 1, 0, {})).options.fail_fast


def recipe_file() -> RecipeFile:
    found = Tuned(
        trials=30, pruned=10, failed=1, updates=300, updates_spent=7000, validation_score=0.5, untuned_score=None,
        higher_is_better=False, seeds=(1000,), sampler="s", budget={"updates": 300, "meta_batch_size": 4},
        parameters={"inner_lr": 1e-05, "inner_steps": 2, "outer_lr": 0.002}, space={"inner_lr": "0.001:1:log"},
    )  # fmt: skip
    return RecipeFile(
        suites={"sinusoid": TunedSuite(base="quick", parameters={"shots": 7}, algorithms={"maml": found})}
    )


@pytest.fixture
def recipe(tmp_path):
    """A recipe file on disk."""
    path = tmp_path / "tuned.toml"
    path.write_bytes(encoded(recipe_file()))
    return path


def test_a_recipe_file_says_what_it_was_given(recipe):
    read = read_recipe(recipe)
    assert msgspec.structs.replace(read, hash="") == recipe_file()
    assert read.hash == read.digest
    assert tomllib.loads(recipe.read_text(encoding="utf-8"))["suites"]["sinusoid"]["algorithms"]["maml"]["seeds"] == [
        1000
    ]


def test_names_and_texts_survive_the_recipe_file(tmp_path):
    odd = {'a "b".c': 'x\ny\\ "ü😀"', "list": [1, 2.5], "yes": True}
    suite = recipe_file().suites["sinusoid"]
    file = RecipeFile(suites={"a+b": msgspec.structs.replace(suite, parameters=odd)})
    (tmp_path / "odd.toml").write_bytes(encoded(file))
    assert read_recipe(tmp_path / "odd.toml").suites == file.suites


def test_run_takes_the_tuned_settings_and_its_trials_say_so(recipe, registry):
    options = Options(algos=("maml", "scratch"), suites=("sinusoid",), seeds=2, recipe=str(recipe))
    trials = plan_trials(options, registry)
    maml, _, scratch, _ = trials
    assert maml.algorithm_parameters == {"inner_lr": 1e-05, "inner_steps": 2, "outer_lr": 0.002}
    assert maml.suite_parameters["shots"] == scratch.suite_parameters["shots"] == 7
    assert maml.budget.updates == scratch.budget.updates == 300
    assert maml.budget.meta_batch_size == 4
    assert (maml.tuning.trials, maml.tuning.updates, maml.tuning.changed) == (30, 300, ())
    assert maml.tuning.recipe == read_recipe(recipe).hash
    assert scratch.tuning is None
    assert msgspec.json.decode(msgspec.json.encode(maml), type=Trial) == maml


def test_an_algorithm_that_was_not_tuned_has_the_same_updates(tmp_path, registry):
    """The suite's own recipe may give it more than that."""
    tuned = recipe_file().suites["sinusoid"]
    suite = msgspec.structs.replace(tuned, base="paper", parameters={})
    (tmp_path / "t.toml").write_bytes(encoded(RecipeFile(suites={"omniglot": suite})))
    options = Options(algos=("reptile",), suites=("omniglot",), seeds=1, recipe="paper")
    assert plan_trials(options, registry)[0].budget.updates == 100_000
    options = msgspec.structs.replace(options, recipe=str(tmp_path / "t.toml"))
    assert plan_trials(options, registry)[0].budget.updates == 300


def test_a_suite_of_ones_own_data_needs_no_more_than_the_recipe(tmp_path, registry):
    """Its path is in the recipe, and nothing has changed since it was tuned."""
    rows = [f"t{task},{x},{x * task}" for task in range(10) for x in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["task,x,target", *rows]), encoding="utf-8")
    given = {"path": str(tmp_path / "t.csv"), "features": ["x"], "kind": "regression"}
    options = Options(algos=("maml",), suites=("tabular",), seeds=1, set={"tabular": given})
    (base,) = plan_trials(options, registry)
    search = Search(spec(base=msgspec.structs.replace(base, algorithm="maml", seed=FIRST_SEED)))
    tuned(search)
    suite = TunedSuite(base="quick", parameters=base.suite_parameters, algorithms={"maml": search.tuned()})
    (tmp_path / "t.toml").write_bytes(encoded(RecipeFile(suites={"tabular": suite})))
    options = Options(algos=("maml",), suites=("tabular",), seeds=1, recipe=str(tmp_path / "t.toml"))
    (trial,) = plan_trials(options, registry)
    assert trial.suite_parameters == base.suite_parameters
    assert trial.tuning.changed == ()


def test_the_command_that_compares_finds_what_was_tuned():
    options = Options(algos=("a", "b"), suites=("s",), plugins=("my plugin.py",), data="d")
    trials = [msgspec.structs.replace(BASE, algorithm=name) for name in ("a", "b")]
    assert comparison(options, trials, Path("t/tuned.toml")) == (
        "metabench run --recipe t/tuned.toml --algos a,b --suites sinusoid --plugin 'my plugin.py' --data d"
    )


def test_what_was_changed_since_is_recorded(recipe, registry):
    sets = {"maml": {"inner_lr": 0.1}, "sinusoid": {"shots": 5}}
    options = Options(algos=("maml",), suites=("sinusoid",), seeds=1, recipe=str(recipe), updates=50, set=sets)
    assert plan_trials(options, registry)[0].tuning.changed == ("inner_lr", "shots", "updates")
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("inner_steps = 2", "inner_steps = 3"), encoding="utf-8"
    )
    assert plan_trials(options, registry)[0].tuning.changed[-1] == "the recipe file, by hand"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1000)}, "Seed 1000 was used to tune 'maml'; choose others with --seeds."),
        ({"suites": ("glyphs",)}, "The recipe file has no settings for suite 'glyphs'. Available: sinusoid."),
        ({"recipe": "none.toml"}, "Cannot read the recipe 'none.toml': No such file or directory."),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_clear_line(recipe, registry, changes, message):
    options = Options(algos=("maml",), suites=("sinusoid",), seeds=1, recipe=str(recipe))
    with pytest.raises(UserError) as caught:
        plan_trials(msgspec.structs.replace(options, **changes), registry)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "codec can't decode"),
        (b"suites = 3", "Expected `object`"),
        (b"a = ", "Invalid value"),
        (b"[suites]", ""),
        (b"format = 9", "it was written by a newer metabench (format 9)"),
        (b"[suites.x]\nbase='quick'\nparameters={}\nalgorithms={}", "was not tuned on"),
    ],
)
def test_a_recipe_file_that_is_none(tmp_path, registry, content, words):
    (tmp_path / "t.toml").write_bytes(content)
    options = Options(algos=("maml",), suites=("sinusoid",), seeds=1, recipe=str(tmp_path / "t.toml"))
    with pytest.raises(UserError, match=r"recipe") as caught:
        plan_trials(options, registry)
    assert words in str(caught.value)


def test_tuning_changes_no_other_trial():
    """The ids of trials are what they were before there was tuning: results on disk are still found."""
    assert BASE.id == "sinusoid-maml-s1000-" + BASE.id[-10:]
    fields = msgspec.to_builtins(BASE)
    assert fields["bars"] == () or fields["bars"] == []
    assert msgspec.structs.replace(BASE, pruning_thresholds=((1, 2.0),)).id != BASE.id
    old = {name: value for name, value in fields.items() if name not in ("bars", "tuning")}
    assert msgspec.convert(old, Trial).id == BASE.id
    assert not is_file("quick")


def written(folder, trials) -> None:
    """Made-up records of tested trials."""
    for trial in trials:
        store.write(folder, builders.outcome(trial, {"transductive": [[0.5 + 0.1 * trial.seed, 0.6]] * 2}, "mse"))


def test_the_report_says_who_was_tuned_and_warns(recipe, registry, tmp_path):
    options = Options(algos=("maml", "scratch"), suites=("sinusoid",), seeds=2, recipe=str(recipe), test_steps=1)
    trials = plan_trials(options, registry)
    written(tmp_path / "r", trials)
    with sketched():
        report = build_report([tmp_path / "r"], formats=["svg"])
    digest = read_recipe(recipe).hash
    line = (
        f"maml: 30 trials of 300 updates on validation tasks (best mse there 0.500; recipe {digest}); "
        "scratch: not tuned"
    )
    caution = "Caution: on sinusoid maml was tuned and scratch was not. The comparison favours what was tuned."
    for page in ("report.md", "index.html"):
        text = report.files[page].decode()
        assert line in text
        assert caution in text
    assert caution in report.notes


def test_a_report_without_tuning_has_no_word_of_it(registry, tmp_path):
    options = Options(algos=("maml", "scratch"), suites=("sinusoid",), seeds=1, test_steps=1)
    written(tmp_path / "r", plan_trials(options, registry))
    with sketched():
        report = build_report([tmp_path / "r"], formats=["svg"])
    assert "uning" not in report.files["report.md"].decode()
    assert not any("Caution" in note for note in report.notes)


def test_tuned_and_untuned_trials_of_one_algorithm_are_never_averaged(recipe, registry):
    options = Options(algos=("maml",), suites=("sinusoid",), seeds=1, recipe=str(recipe))
    (trial,) = plan_trials(options, registry)
    plain = msgspec.structs.replace(trial, tuning=None)
    found = labels(builders.record(each) for each in (trial, plain))
    assert found[trial.id] != found[plain.id]


PROBE = """
import torch
from torch import nn
from metabench.api import Algorithm, Batch, Suite, Task, hookimpl, sgd, unroll

def probe():
    "Lines, which nobody may be tested on."
    def sample(split, n, generator):
        if split == "test":
            raise RuntimeError("a test task was asked for")
        x = torch.randn(n, 8, 1, generator=generator)
        y = torch.randn(n, 1, 1, generator=generator) * x
        return Task(Batch(x[:, :4], y[:, :4]), Batch(x[:, 4:], y[:, 4:]))
    def mse(predict, batch):
        return (predict(batch.x) - batch.y).square().mean()
    return Suite(sample, lambda: nn.Linear(1, 1), mse, lambda p, b: {"mse": mse(p, b)}, False)

@hookimpl
def register_suites():
    return {"probe": probe}
"""
TUNE = (
    "tune", "--plugin", "probe.py", "--algos", "maml,scratch", "--suites", "probe", "--trials", "7",
    "--updates", "30", "--validations", "3", "--validation-tasks", "10", "--test-steps", "1", "--out", "t",
)  # fmt: skip


@pytest.mark.slow
def test_no_test_task_is_drawn_and_a_killed_tuning_goes_on_to_the_same_end(here, tmp_path):
    (tmp_path / "probe.py").write_text(PROBE, encoding="utf-8")
    command = [sys.executable, "-c", "from metabench.cli.main import main; main()", *TUNE]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True, env=os.environ
    )
    assert process.stdout is not None
    while "1/7" not in process.stdout.readline():  # until the first trial has ended
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "t" / "tuned.toml").exists()
    again = here(*TUNE)
    assert again.returncode == 0, again.stdout + again.stderr
    files = sorted(path.parent.name for path in (tmp_path / "t").glob("*/record.json"))
    assert len(files) == 14
    (tmp_path / "t" / "tuned.toml").rename(tmp_path / "first.toml")
    replayed = here(*TUNE)
    assert "14 candidates on validation tasks, 14 finished before" in replayed.stdout
    whole = here(*TUNE[:-1], "u", "--jobs", "1")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    first, second, third = ((tmp_path / name).read_bytes() for name in ("first.toml", "t/tuned.toml", "u/tuned.toml"))
    assert first == second == third
    assert sorted(path.parent.name for path in (tmp_path / "u").glob("*/record.json")) == files
    tested = here("run", "--plugin", "probe.py", "--recipe", "first.toml", "--suites", "probe", "--algos", "maml")
    assert "a test task was asked for" in tested.stdout  # so the probe would have seen one
    nothing = here("report", "t")
    assert nothing.returncode == 2
    assert "There is no finished trial in 't'." in nothing.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_there(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE, encoding="utf-8")
    words = [*TUNE, "--updates", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from metabench.cli.main import main; main()", *words],
        cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "14 candidates on validation tasks" in process.stdout.readline()
    wait_for(lambda: running(tmp_path / "t"))
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert "Stopped. What was finished is in t; the same command goes on from there.\n" in rest
    assert not (tmp_path / "t" / "tuned.toml").exists()
