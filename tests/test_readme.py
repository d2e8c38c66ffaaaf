"""The README's commands and its plugin, run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.S | re.M)
PLUGIN = next(text for kind, text in BLOCKS if kind == "python" and "@hookimpl" in text)
NOTEBOOK = next(text for kind, text in BLOCKS if kind == "python" and "metabench.run" in text)
COMMANDS = [
    line.split("#")[0].strip()
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("metabench ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all of the README, in its order."""
    path = tmp_path_factory.mktemp("readme")
    (path / "sign_maml.py").write_text(PLUGIN)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(metabench, folder, command):
    result = metabench(*shlex.split(command)[1:], cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed" not in result.stdout


def test_the_plugin_is_short():
    assert len(PLUGIN.strip().splitlines()) <= 35


def test_the_notebook(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(NOTEBOOK, scope)
    assert set(scope["trials"]["status"]) == {"ok"}
    assert len(scope["tasks"]) > 0


def test_the_first_two_commands_are_run_and_test():
    first = next(text for kind, text in BLOCKS if kind == "sh")
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]
