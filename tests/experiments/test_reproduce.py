"""`metabench reproduce`: the row's settings, the user's before them, the comparison and its verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metabench
from metabench.errors import UserError
from metabench.experiments import reproduce
from metabench.experiments.planning import plan_experiment
from metabench.experiments.read_options import read_options
from metabench.experiments.suite_builder import SuiteBuilder
from metabench.records import store
from metabench.records.trials import Budget
from metabench.registry.published import load_published
from tests.builders import outcome

INSTALLED = Path(__file__).resolve().parents[2] / "plugins" / "published.toml"
TINY = """
[[table]]
algorithms = ["maml"]
suite = "sinusoid"
metric = "mse"
source = "Nobody 2026, a README"
setting = { shots = 3, test_shots = 2 }
protocol = { updates = 4, meta_batch_size = 2, inner_lr = 0.02, test_tasks = 50, selection = "last", masks = 2 }
ours = { masks = "" }
cells = [
  { value = 1.0, protocol = { test_steps = 1 } },
  { value = 0.5, protocol = { test_steps = 2 } },
]
"""


@pytest.fixture
def tiny(tmp_path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return str(path)


def made_up(made: reproduce.Reproduction, level: float, spread: float = 0.01) -> None:
    """Records of its trials, whose score is `level` after the last inner step and twice as much after the first."""
    for trial in made.planned.trials:
        noise = np.random.default_rng(trial.seed).normal(0, spread, trial.budget.test_tasks)
        rise = np.array([4.0, 2.0, 1.0])[:, None] * level
        store.write(made.planned.out, outcome(trial, {"transductive": rise + noise}, "mse", selection="last"))


def test_a_row_sets_what_is_known_of_it_and_the_user_goes_first(tiny, tmp_path):
    given = {"seeds": 2, "out": str(tmp_path / "r"), "set": ["sinusoid.queries=7"], "updates": 3}
    made = reproduce.reproduction("sinusoid", given, tiny, dry=True)
    trials = made.planned.trials
    assert [trial.seed for trial in trials] == [0, 1]
    assert trials[0].budget == Budget(
        updates=3, meta_batch_size=2, validations=0, validation_tasks=200, test_tasks=600, test_steps=2
    )
    assert trials[0].algorithm_parameters["inner_lr"] == 0.02
    assert {"shots": 3, "test_shots": 2, "queries": 7}.items() <= trials[0].suite_parameters.items()


@pytest.mark.parametrize(("level", "verdict"), [(0.5, "reproduced"), (0.48, "not reproduced")])
def test_the_command_ends_in_a_verdict_for_every_number(here, tiny, tmp_path, level, verdict):
    made_up(reproduce.reproduction("sinusoid", {"out": str(tmp_path / "r")}, tiny, dry=True), level)
    said = here("reproduce", "sinusoid", "--against", tiny, "--out", "r")
    assert not said.returncode, said.stderr
    assert "0 trials to run, 3 finished before" in said.stdout
    for steps, theirs in (("1 inner step", "1.000"), ("2 inner steps", "0.500")):
        part = said.stdout.partition(f"mse after {steps}\n")[2].partition("\n\n")[0]
        assert f"published {theirs}, Nobody 2026, a README" in part
        assert f"verdict   {verdict}\n" in part
        assert "differs   masks: no setting here, 2 there" in part, "named, and no hindrance"
        assert "(3 seeds, transductive)" in part
    quiet = here("reproduce", "sinusoid", "--against", tiny, "--out", "r", "--quiet").stdout
    assert quiet.startswith("\nmaml on sinusoid, mse after 1 inner step\n")
    assert said.stdout.endswith(quiet)


def test_what_was_set_otherwise_is_not_comparable_and_few_seeds_decide_nothing(tiny, tmp_path):
    for name, given, verdict, reason in (
        ("a", {"updates": 3}, "not comparable", "by updates"),
        ("b", {"seeds": 2}, "undecided", "2 seeds, of at least 3"),
        ("c", {"test_tasks": 599}, "undecided", "599 test tasks, of at least 600"),
    ):
        given["out"] = str(tmp_path / name)
        made_up(reproduce.reproduction("sinusoid", given, tiny, dry=True), 0.5)
        frame = metabench.reproduce("sinusoid", against=tiny, **given)
        assert list(frame["verdict"]) == [verdict] * 2
        assert list(frame["reason"]) == [reason] * 2


def test_what_a_source_does_not_say_has_a_stand_in_and_no_other_value_gets_a_verdict(tmp_path):
    """Without one, a gap can be of the number of updates alone, and decides nothing."""
    path = tmp_path / "unsaid.toml"
    silent = TINY.replace("updates = 4, ", "")
    for name, text, given, verdicts in (
        ("a", silent.replace('masks = ""', 'masks = "", updates = 4'), {}, {"reproduced"}),
        ("b", silent.replace('masks = ""', 'masks = "", updates = 4'), {"updates": 3}, {"not comparable"}),
        ("c", silent, {"updates": 3}, {"reproduced"}),
        ("d", silent.replace("value = 0.5", "value = 0.6").replace("value = 1.0", "value = 1.2"), {}, {"undecided"}),
    ):
        path.write_text(text, encoding="utf-8")
        given["out"] = str(tmp_path / name)
        made_up(reproduce.reproduction("sinusoid", given, str(path), dry=True), 0.5)
        frame = metabench.reproduce("sinusoid", against=str(path), **given)
        assert set(frame["verdict"]) == verdicts, name
        named = frame["differences"].str.contains("updates: 3 here, 4 in place of what is not said there")
        assert named.all() if name == "b" else not named.any()


def test_the_list_says_what_is_here_and_what_it_costs(here, tiny):
    said = here("reproduce", "--list", "--against", tiny)
    assert not said.returncode, said.stderr
    line = next(line for line in said.stdout.splitlines() if "Nobody" in line)
    for part in ("maml sinusoid", "1.000 / 0.500", "not measured", "here"):
        assert part in line


def test_an_estimate_is_made_of_the_same_settings_alone(tiny, tmp_path):
    made = reproduce.reproduction("sinusoid", {"out": str(tmp_path / "r")}, tiny, dry=True)
    trial = made.planned.trials[0]
    record = outcome(trial, train_seconds=8.0).record
    assert reproduce.seconds_of_training(trial, [record]) == pytest.approx(8.0)
    longer = plan(["--updates", "40"], tiny, tmp_path)
    assert reproduce.seconds_of_training(longer, [record]) == pytest.approx(80.0)
    other = plan(["--set", "sinusoid.queries=2"], tiny, tmp_path)
    assert reproduce.seconds_of_training(other, [record]) is None


def test_a_short_training_tells_the_time_of_a_long_one(tiny, monkeypatch):
    def instead(planned, *stopped):
        assert [trial.budget.updates for trial in planned.trials] == [reproduce.SHORT["updates"]]
        yield outcome(planned.trials[0], train_seconds=2.0)

    monkeypatch.setattr(reproduce.Experiment, "outcomes", instead)
    (one,) = reproduce.listed_rows("sinusoid", {}, tiny, measure=True)
    assert one.seconds == pytest.approx(2.0 / 20 * 4)


def plan(words: list[str], tiny: str, folder: Path):
    """The first trial with one option more."""
    given = {words[0].removeprefix("--"): [words[1]] if words[0] == "--set" else int(words[1])}
    return reproduce.reproduction("sinusoid", given | {"out": str(folder / "r")}, tiny, dry=True).planned.trials[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Name a row of published numbers; `metabench reproduce --list` shows them."),
        (("zzz",), "No published number is for 'zzz'."),
        (("sinusoid", "--set", "other.x=1"), "This run has no algorithm or suite to --set: 'other'."),
        (("--list", "zzz"), "No published number is for 'zzz'. `metabench reproduce --list` shows all."),
    ],
)
def test_what_cannot_be_done_is_one_line(here, tiny, words, message):
    said = here("reproduce", *words, "--against", tiny)
    assert said.returncode == 2
    assert said.stderr.startswith(f"metabench: {message}")
    assert said.stderr.count("\n") == 1


def test_numbers_of_nothing_installed_are_refused(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(TINY.replace('"sinusoid"', '"unheard-of"'), encoding="utf-8")
    with pytest.raises(UserError, match="None of these published numbers is of an algorithm and a suite"):
        reproduce.reproduction("x", {}, str(path), dry=True)


def test_every_installed_row_can_be_planned(registry):
    """With the settings that its numbers name, but for what is no setting here or cannot have such a value."""
    builder = SuiteBuilder(registry)
    found = reproduce.all_rows(read_options(None, {}), load_published(str(INSTALLED)))
    assert len(found) > 100
    for row in found:
        asked = reproduce.options_of(row, {}, registry)
        trial = plan_experiment(read_options(None, asked), builder).trials[0]
        here = trial.settings()
        for name, value in {**row.setting, **row.facts}.items():
            if name in here and value != "" and name != "test_tasks":
                assert here[name] == value or isinstance(value, str), f"{row.name}: {name}"
        assert {*row.numbers[0].ours} - {*row.numbers[0].protocol} <= {*here}, f"{row.name}: stands in for nothing"
