"""The README's commands and its plugin, run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blocks import blocks, commands

pytestmark = pytest.mark.xdist_group("readme")

BLOCKS = blocks(Path(__file__).resolve().parents[2] / "README.md")
PLUGIN = next(text for kind, text in BLOCKS if kind == "python" and "@hookimpl" in text)
NOTEBOOK = next(text for kind, text in BLOCKS if kind == "python" and "metabench.run" in text)
COMMANDS = [words for kind, text in BLOCKS if kind == "sh" for words in commands(text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all of the README, in its order."""
    path = tmp_path_factory.mktemp("readme")
    (path / "sign_maml.py").write_text(PLUGIN, encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands(here, folder, words):
    result = here(*words, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed" not in result.stdout


def test_the_plugin_is_short():
    assert len(PLUGIN.strip().splitlines()) <= 35


@pytest.mark.slow
def test_the_notebook(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(NOTEBOOK, scope)
    assert set(scope["trials"]["status"]) == {"ok"}
    assert len(scope["tasks"]) > 0


def test_the_first_two_commands_are_run_and_test():
    first = next(text for kind, text in BLOCKS if kind == "sh")
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]
