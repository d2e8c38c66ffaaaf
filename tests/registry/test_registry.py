"""Plugins: found, guarded one by one, checked, and named in every message."""

from __future__ import annotations

import os

import pytest

from metabench.errors import UserError
from metabench.registry.discovery import load_registry

GOOD = """
from metabench.api import Algorithm, InnerLoop, hookimpl

def mine(problem, *, inner_lr: float = 0.1, name: str | None = None):
    '''My algorithm.

    From a paper.

    Args:
        inner_lr: Step size of the inner loop,
            in units of nothing.
        name (str): What it is called: anything.

    It ends here.
    '''
    inner = InnerLoop(lambda m, s: m, lambda m, f, s, i: f, lambda m, f, x: problem.apply(f, x))
    return Algorithm(problem.init, inner)

@hookimpl
def register_algorithms():
    return {NAME: mine}
"""

BROKEN = {
    "does not import": (
        "import nonsense_that_is_not_there",
        "ModuleNotFoundError: No module named 'nonsense_that_is_not_there'",
    ),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "registers nothing": ("x = 1", "it registers nothing; see register_algorithms and register_suites"),
    "not marked": (
        "def register_suites():\n    return {}",
        "register_suites is not marked with @hookimpl",
    ),
    "returns a list": (
        "from metabench.api import hookimpl\n@hookimpl\ndef register_suites():\n    return []",
        "register_suites must return a dict of name -> factory, not list",
    ),
    "bad name": (GOOD.replace("NAME", "'../evil'"), "algorithm name '../evil' must be 1 to 40"),
    "reserved name": (GOOD.replace("NAME", "'com1'"), "algorithm name 'com1' must be 1 to 40"),
    "no defaults": (
        GOOD.replace("NAME", "'mine'").replace(": float = 0.1", ": float"),
        "the factory of algorithm 'mine' parameter 'inner_lr' has no default",
    ),
    "positional": (
        GOOD.replace("NAME", "'mine'").replace("problem, *", "problem, more, *"),
        "the factory of algorithm 'mine' takes 2 positional parameters; a factory looks like (problem, *, ...)",
    ),
    "wrong default": (
        GOOD.replace("NAME", "'mine'").replace("0.1", "'fast'"),
        "the default of parameter 'inner_lr' does not fit its type",
    ),
    "taken name": (
        GOOD.replace("NAME", "'maml'"),
        "algorithm 'maml' is registered already by plugin 'maml'; rename yours",
    ),
}


SETTINGS = """
from metabench.api import hookimpl

@hookimpl
def register_recipes():
    return {RETURNED}
"""


def write(tmp_path, text, name="plug.py"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_file_is_registered_with_its_schema(tmp_path):
    registry = load_registry((write(tmp_path, GOOD.replace("NAME", "'mine'")),))
    entry = registry.get("algorithm", "mine")
    assert entry.description.splitlines()[0] == "My algorithm."
    assert entry.description == "My algorithm.\n\nFrom a paper.\n\nIt ends here."
    assert [p.help for p in entry.parameters.values()] == [
        "Step size of the inner loop, in units of nothing.",
        "What it is called: anything.",
    ]
    assert [str(p) for p in entry.parameters.values()] == ["inner_lr: float = 0.1", "name: str | None = None"]
    assert registry.origin("algorithm", "mine").startswith("sha256 ")
    assert not registry.broken


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_its_reason_and_ends_nothing(tmp_path, case):
    text, reason = BROKEN[case]
    registry = load_registry((write(tmp_path, text),))
    assert [plugin.name for plugin in registry.broken] == ["plug"]
    assert reason in registry.broken[0].problem
    assert {"maml", "reptile"} <= set(registry.algorithms)
    with pytest.raises(UserError, match=r"Plugin 'plug' could not be loaded"):
        registry.get("algorithm", "mine")


def test_a_misspelt_hook_is_an_error_of_its_plugin_alone(tmp_path):
    misspelt = GOOD.replace("NAME", "'mine'").replace("register_algorithms", "register_algorithm")
    good = write(tmp_path, GOOD.replace("NAME", "'other'"), "good.py")
    registry = load_registry((write(tmp_path, misspelt), good))
    assert "register_algorithm" in registry.broken[0].problem
    assert "other" in registry.algorithms


@pytest.mark.parametrize(
    "returned",
    [
        "None",
        "3",
        "[]",
        "{'quick': {}}",
        "{('a', 'b'): 3}",
        "{('a', 'b', 'c'): {}}",
        "{('a', 'b'): {'mine': {1: 2}}}",
    ],
)
def test_recipes_of_another_form_are_an_error_of_their_plugin(tmp_path, returned):
    registry = load_registry((write(tmp_path, SETTINGS.replace("{RETURNED}", returned)),))
    (broken,) = registry.broken
    assert broken.problem.startswith(("register_recipes must return {(suite, recipe): ", "it registers nothing"))


def test_a_package_brings_settings_for_suites_and_algorithms_that_are_not_its_own(tmp_path):
    text = SETTINGS.replace("{RETURNED}", "{('sinusoid', 'quick'): {'maml': {'inner_lr': 0.5}}}")
    registry = load_registry((write(tmp_path, text, "one.py"),))
    assert not registry.broken
    assert registry.settings(("sinusoid",), "quick", "maml") == {"inner_lr": 0.5}
    assert registry.settings(("sinusoid",), "paper", "maml") == registry.settings(("other",), "quick", "maml") == {}
    two = load_registry((write(tmp_path, text, "one.py"), write(tmp_path, text, "two.py")))
    assert [plugin.problem for plugin in two.broken] == [
        "the settings of 'maml' for suite 'sinusoid', recipe 'quick', are registered already by plugin 'one'"
    ]


def test_files_come_from_the_environment_too(tmp_path, monkeypatch):
    one = write(tmp_path, GOOD.replace("NAME", "'one'"), "one.py")
    two = write(tmp_path, GOOD.replace("NAME", "'two'"), "two.py")
    monkeypatch.setenv("METABENCH_PLUGINS", os.pathsep.join([one, two]))
    registry = load_registry((one,))
    assert {"one", "two"} <= set(registry.algorithms)
    assert not registry.broken


def test_unknown_names_come_with_the_nearest(registry):
    with pytest.raises(UserError, match=r"^Unknown algorithm 'mamll'\. Did you mean 'maml'\? Available: .*reptile"):
        registry.get("algorithm", "mamll")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inner_rl": 1}, "Algorithm 'maml' has no parameter 'inner_rl'. Did you mean 'inner_lr'? "),
        ({"inner_lr": "fast"}, "Parameter 'inner_lr' of algorithm 'maml' must be float of at least 0, not 'fast'."),
        (
            {"inner_lr": float("nan")},
            "Parameter 'inner_lr' of algorithm 'maml' must be float of at least 0, not nan.",
        ),
        ({"inner_steps": 1.5}, "Parameter 'inner_steps' of algorithm 'maml' must be int of at least 0, not 1.5."),
        ({"inner_steps": True}, "Parameter 'inner_steps' of algorithm 'maml' must be int of at least 0, not True."),
    ],
)
def test_parameters_are_checked(registry, given, message):
    with pytest.raises(UserError) as error:
        registry.get("algorithm", "maml").resolve(given)
    assert str(error.value).startswith(message)


def test_a_value_that_does_not_fit_is_answered_with_what_the_parameter_is(registry):
    entry = registry.get("algorithm", "maml")
    with pytest.raises(UserError) as error:
        entry.resolve({"inner_lr": "fast"})
    assert str(error.value).endswith(f"must be float of at least 0, not 'fast'. {entry.parameters['inner_lr'].help}")
    assert entry.parameters["inner_lr"].help == "Step size of the inner loop."


def test_list_shows_one_in_full(here, registry):
    entry = registry.get("algorithm", "reptile")
    shown = here("list", "reptile").stdout
    assert entry.description in shown
    assert "--set reptile.inner_optimizer=\"sgd\"   'sgd' | 'adam'" in shown
    assert all(parameter.help in shown for parameter in entry.parameters.values())
    assert "maml" not in shown
    unknown = here("list", "reptil")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("metabench: Unknown algorithm or suite 'reptil'. Did you mean 'reptile'?")


def test_whole_numbers_are_floats_too(registry):
    assert registry.get("algorithm", "maml").resolve({"inner_lr": 1})["inner_lr"] == 1.0


def test_choices_are_listed(registry):
    with pytest.raises(UserError, match=r"must be 'sgd' \| 'adam', not 'adma'"):
        registry.get("algorithm", "reptile").resolve({"inner_optimizer": "adma"})
