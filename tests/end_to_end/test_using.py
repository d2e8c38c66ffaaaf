"""docs/using-a-learner.md and the README's snippet: what is shown there runs as it stands."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.blocks import blocks, commands
from tests.waiting import HANG

ROOT = Path(__file__).resolve().parents[2]
PAGE = blocks(ROOT / "docs" / "using-a-learner.md")
SNIPPET = next(t for kind, t in blocks(ROOT / "README.md") if kind == "python" and "load_learner" in t)


def script(folder: Path, text: str) -> str:
    """What a script prints, run by itself."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, encoding="utf-8", timeout=HANG, env=os.environ
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.slow
def test_the_readme_trains_loads_adapts_and_predicts(tmp_path):
    assert "[" in script(tmp_path, SNIPPET)


@pytest.mark.slow
def test_the_page(here, tmp_path):
    (code,) = (text for kind, text in PAGE if kind == "python")
    assert set(ast.literal_eval(script(tmp_path, code))) <= {"ax", "bow", "cup"}
    for place in ("support/a", "support/b", "query"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / place / "1.png")
    for kind, text in PAGE:
        for words in commands(text) if kind == "sh" else ():
            result = here(*words, cwd=tmp_path)
            assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "predictions.csv").read_text(encoding="utf-8").startswith("point,predicted,softmax\n1.png,")
