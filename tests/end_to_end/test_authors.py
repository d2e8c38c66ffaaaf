"""docs/authors: every code block is run as it stands there; the gallery is what is installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from metabench.cli.gallery import gallery
from metabench.errors import UserError
from metabench.registry.catalogue import read_catalogue
from metabench.registry.discovery import load_registry
from metabench.testing import check_plugin, kit
from tests.blocks import blocks, commands, on_few_tasks

pytestmark = pytest.mark.xdist_group("authors")

DOCS = Path(__file__).resolve().parents[2] / "docs"
TUTORIAL = blocks(DOCS / "authors.md")
HOOKS = {"algorithms": "one_rate.py", "suites": "exponentials.py"}
SHELL = [words for kind, text in TUTORIAL if kind == "sh" for words in commands(text)]
PYTHON = [text for kind, text in TUTORIAL if kind == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for the tutorial, in its order."""
    return tmp_path_factory.mktemp("authors")


@pytest.mark.slow
@pytest.mark.parametrize("words", SHELL, ids=" ".join)
def test_the_tutorials_commands(here, folder, words):
    result = here(*on_few_tasks(words), cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed" not in result.stdout


@pytest.mark.slow
def test_the_tutorial_ends_in_the_figure_that_it_names(folder):
    assert (folder / "reports" / "mine" / "figures" / "sinusoid-adaptation.png").is_file()


def test_the_path_is_four_commands():
    assert [words[0] for words in commands(TUTORIAL[0][1])] == ["new", "check", "run", "report"]


@pytest.mark.slow
@pytest.mark.parametrize("text", PYTHON, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_the_tutorials_python(folder, monkeypatch, text, capsys):
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(text, scope)
    if "results" in scope:
        assert capsys.readouterr().out == "[]\n"
    else:
        assert callable(scope["test_mine"])


def test_the_entry_point_is_what_new_writes():
    text = next(text for kind, text in TUTORIAL if kind == "toml")
    assert tomllib.loads(text) == {"project": {"entry-points": {"metabench": {"mine": "mine"}}}}


@pytest.mark.slow
@pytest.mark.parametrize("page", HOOKS)
def test_the_plugins_of_the_hook_pages(here, tmp_path, page):
    found = blocks(DOCS / "authors" / f"{page}.md")
    [plugin] = [text for kind, text in found if kind == "python"]
    (tmp_path / HOOKS[page]).write_text(plugin, encoding="utf-8")
    calls = [words for kind, text in found if kind == "sh" for words in commands(text)]
    assert calls[0][0] == "check"
    for words in calls:
        result = here(*on_few_tasks(words))
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_pages_name_every_field():
    from metabench.api import Algorithm, Problem, Suite

    algorithms = (DOCS / "authors" / "algorithms.md").read_text(encoding="utf-8")
    suites = (DOCS / "authors" / "suites.md").read_text(encoding="utf-8")
    assert all(f"| `{field}` |" in algorithms for field in Algorithm._fields)
    assert all(f"| `{field}" in algorithms for field in Problem._fields)
    assert all(f"| `{field}` |" in suites for field in Suite._fields)


def test_the_page_says_how_many_checks_there_are():
    from metabench.testing.conformance import ALGORITHM, SUITE

    words = {15: "fifteen", 16: "sixteen", 17: "seventeen", 18: "eighteen", 19: "nineteen", 20: "twenty"}
    text = " ".join((DOCS / "authors.md").read_text(encoding="utf-8").split())
    assert f"runs {words[len(ALGORITHM)]} checks on an algorithm" in text
    assert f"and {words[len(SUITE)]} on a suite" in text


def test_the_gallery_is_up_to_date():
    page = (DOCS / "authors" / "gallery.md").read_text(encoding="utf-8")
    assert page == gallery(read_catalogue()).rstrip() + "\n", "metabench list --markdown > docs/authors/gallery.md"


def test_list_markdown_is_the_gallery(here):
    assert here("list", "--markdown").stdout == gallery(read_catalogue()).rstrip() + "\n"


def test_kit_says_what_is_unknown():
    with pytest.raises(UserError, match="Unknown algorithm or suite 'nobody'"):
        kit("nobody")
    with pytest.raises(UserError, match="Unknown algorithm or suite 'nobody'"):
        check_plugin(load_registry(), "nobody")
