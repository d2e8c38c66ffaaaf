"""The README's commands and its plugin, run as they stand there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import metabench
from tests.blocks import blocks, commands, on_few_tasks
from tests.waiting import HANG

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
    result = here(*on_few_tasks(words), cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed" not in result.stdout


def test_the_plugin_is_short():
    assert len(PLUGIN.strip().splitlines()) <= 35


@pytest.mark.slow
@pytest.mark.parametrize("guard", [False, True])
def test_the_snippet_is_a_script_with_and_without_a_guard(folder, guard):
    short = NOTEBOOK.replace("updates=50", "updates=50, test_tasks=30").replace(
        "results/notebook", f"results/{guard}"
    )
    lines = ["print('begins')", *short.splitlines()]
    if guard:
        lines = ["def main():", *(f"    {line}" for line in lines), "if __name__ == '__main__':", "    main()"]
    script = folder / f"script_{guard}.py"
    script.write_text("\n".join([*lines, "print('never in a worker')"]))
    result = subprocess.run([sys.executable, script.name], cwd=folder, capture_output=True, text=True, timeout=HANG)
    assert (result.returncode, result.stderr) == (0, "")
    assert (result.stdout.count("begins"), result.stdout.count("never in a worker")) == (1, 1)
    assert set(metabench.load(folder / "results" / str(guard))["status"]) == {"ok"}


def test_the_first_two_commands_are_run_and_test():
    first = next(text for kind, text in BLOCKS if kind == "sh")
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]
