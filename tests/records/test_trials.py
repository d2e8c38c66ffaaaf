"""A trial: its settings, flat; the names that its folder is made of."""

from __future__ import annotations

import pytest

from metabench.records.domains import NAME
from metabench.records.trials import NOT_A_SETTING, Budget, Trial, Tuning

TRIAL = Trial(
    algorithm="a",
    algorithm_parameters={"inner_lr": 0.1, "shots": 3, "updates": 7},
    suite="s",
    suite_parameters={"shots": 5, "test_steps": 9},
    seed=2,
    budget=Budget(updates=100),
    precision="bf16",
)


def test_settings_are_all_that_was_run_but_the_seed_each_under_a_name_of_its_own():
    settings = TRIAL.settings()
    assert settings["inner_lr"] == 0.1
    assert (settings["shots"], settings["algorithm.shots"]) == (5, 3)
    assert (settings["updates"], settings["algorithm.updates"]) == (100, 7)
    assert (settings["test_steps"], settings["suite.test_steps"]) == (10, 9)
    assert settings["precision"] == "bf16"
    assert "seed" not in settings
    fields = {*Trial.__struct_fields__} - {*NOT_A_SETTING}
    assert {*fields, *Budget.__struct_fields__, "tuned"} <= settings.keys()


def test_a_part_of_the_settings_has_the_names_of_the_whole():
    parts = [TRIAL.settings(part) for part in ("algorithm", "suite", "trial")]
    assert {name: value for part in parts for name, value in part.items()} == TRIAL.settings()
    assert sum(map(len, parts)) == len(TRIAL.settings())
    assert TRIAL.settings("algorithm", "trial") == {**parts[0], **parts[2]}


@pytest.mark.parametrize("changed", [(), ("inner_lr",)])
def test_tuned_is_by_which_recipe(changed):
    tuning = Tuning(trials=3, updates=10, score=0.5, recipe="abc", changed=changed)
    tuned = Trial(algorithm="a", algorithm_parameters={}, suite="s", suite_parameters={}, seed=0, tuning=tuning)
    assert (TRIAL.settings()["tuned"], tuned.settings()["tuned"]) == (False, "abc")


@pytest.mark.parametrize("name", ["maml", "maml++", "r2-d2", "x" * 40, "con-tasks", "conv", "com", "com10", "nulls"])
def test_names_that_are_legal_as_files_on_linux_macos_and_windows(name):
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["con", "prn", "aux", "nul", "com1", "lpt9", "MAML", "a/b", "a.b", "a:b", "", "x" * 41]
)
def test_other_names_are_refused(name):
    assert not NAME.fullmatch(name)
