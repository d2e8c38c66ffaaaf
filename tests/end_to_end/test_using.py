"""docs/using-a-learner.md and the README's snippet: what is shown there runs as it stands."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.blocks import blocks, commands

ROOT = Path(__file__).resolve().parents[2]
PAGE = blocks(ROOT / "docs" / "using-a-learner.md")
SNIPPET = next(t for kind, t in blocks(ROOT / "README.md") if kind == "python" and "load_learner" in t)


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """`printed(script)`: what it prints in an empty folder, and that nothing is said besides."""

    def run(script: str) -> str:
        monkeypatch.chdir(tmp_path)
        with warnings.catch_warnings(action="error", category=UserWarning):
            exec(compile(script, "script.py", "exec"), {})
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


@pytest.mark.slow
def test_the_readme_trains_loads_adapts_and_predicts(printed):
    assert "[" in printed(SNIPPET)


@pytest.mark.slow
def test_the_page(here, printed, tmp_path):
    (code,) = (text for kind, text in PAGE if kind == "python")
    assert set(ast.literal_eval(printed(code))) <= {"ax", "bow", "cup"}
    for place in ("support/a", "support/b", "query"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / place / "1.png")
    for kind, text in PAGE:
        for words in commands(text) if kind == "sh" else ():
            result = here(*words, cwd=tmp_path)
            assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "predictions.csv").read_text(encoding="utf-8").startswith("point,predicted,softmax\n1.png,")
