"""A plugin of the contract's first edition ends in one line that names the page to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from metabench import api
from metabench.api import Algorithm, InnerLoop
from metabench.api.editions import PAGE, EditionError
from metabench.registry.discovery import load_registry

ROOT = Path(__file__).resolve().parents[2]
OLD = """
from metabench.api import Algorithm, hookimpl, sgd{more}

def old(problem, *, inner_lr: float = 0.1):
    "An algorithm of the first edition."
    inner = sgd(problem, inner_lr)
    return Algorithm({fields})

@hookimpl
def register_algorithms():
    return {{"old": old}}
"""
BY_NAME = "init=problem.init, start=inner.start, step=inner.step, predict=inner.predict"
BY_POSITION = "problem.init, inner.start, inner.step, inner.predict"
ONE_LINE = "it is written for edition 1 of the contract, and this is 2; see docs/authors/from-edition-1-to-2.md"


def plugin(tmp_path, fields=BY_NAME, more=""):
    file = tmp_path / "old.py"
    file.write_text(OLD.format(fields=fields, more=more), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("fields", [BY_NAME, BY_POSITION])
def test_a_run_ends_in_one_line(here, tmp_path, fields):
    size = "--suites sinusoid --updates 2 --seeds 1 --test-tasks 2 --validations 1 --validation-tasks 2".split()
    result = here("run", "--plugin", plugin(tmp_path, fields), "--algos", "old", *size)
    assert result.returncode == 1
    assert ONE_LINE in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_the_kit_says_so_in_its_first_check(here, tmp_path):
    result = here("check", "old", "--plugin", plugin(tmp_path))
    assert result.returncode == 1
    assert ONE_LINE in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", ["Inner", "UnfitError"])
def test_names_that_are_gone_are_told_when_the_plugin_is_loaded(tmp_path, name):
    (broken,) = load_registry((plugin(tmp_path, more=f", {name}"),)).broken
    assert broken.problem.startswith(f"metabench.api.{name} is now ")
    assert broken.problem.endswith(ONE_LINE)


def test_the_page_is_there_and_names_what_is_gone():
    page = (ROOT / PAGE).read_text("utf-8")
    assert f"`metabench.api.EDITION` is {api.EDITION}" in page
    assert all(name in page for name in api.editions.RENAMED)


def test_the_second_edition_is_made_by_name_and_by_position():
    inner = InnerLoop(lambda meta, support: meta, lambda meta, fast, support, i: fast, lambda meta, fast, x: x)
    assert Algorithm(dict, inner) == Algorithm(init=dict, inner=inner)
    assert Algorithm(dict, inner)._replace(objective=max).objective is max
    with pytest.raises(EditionError):
        Algorithm(dict, *inner)
