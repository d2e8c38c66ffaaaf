"""The LaTeX tables: what is in them, and that LaTeX takes them, hostile names and all."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from metabench.records.columns import shown_in
from metabench.report.page import latex

NAMES = [
    "maml",
    r"50% \\input{x} & $x_1$ #{}~^",
    "<b>\"|`'",
    "\u202eשלום",
    "x" * 200,
    "[2pt]",
    "*",
    "naïve – 3 ± 1 → 2",
]
ENGINE = next(filter(None, map(shutil.which, ("pdflatex", "tectonic"))), None)


def row(algorithm: str, standing: str = "") -> dict:
    return {
        "algorithm": algorithm, "protocol": "transductive", "metric": "accuracy", "score": 0.953, "ci95": 0.0054,
        "standing": standing, "behind": -0.031, "behind_low": -0.0352, "behind_high": -0.0268, "ok": 2, "seeds": 3,
    }  # fmt: skip


def tabular(rows: list[dict]) -> str:
    return latex.tabular(rows, shown_in("latex"), "accuracy")


def test_every_row_is_there_and_every_special_letter_is_escaped():
    lines = tabular([row(name, "best" if name == "maml" else "not separated") for name in NAMES]).splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body[0] == (
        r"maml & transductive & \textbf{95.30 $\pm$ 0.54} & "
        r"$-$3.10 {[}$-$3.52, $-$2.68{]} & 2 of 3 \\"
    )
    assert len(body) == len(NAMES)
    assert r"accuracy (\%)" in lines[lines.index(r"\midrule") - 1]
    assert all(r"95.30 $\pm$ 0.54$^{\approx}$ &" in line for line in body[1:])
    for line in body:
        bare = re.sub(r"\$\^\{\\approx\}\$|\\[a-zA-Z]+|\\.|\$(?:\\[a-z]+|-)\$", "", line)
        assert bare.count("&") == 4
        assert not set("%$#_^~\\<>|") & set(bare)
        assert line.count("{") == line.count("}")
    assert latex.escaped("\u202e") == "{[}U+202E{]}"


@pytest.mark.skipif(ENGINE is None, reason="neither pdflatex nor tectonic is installed")
def test_latex_takes_it(tmp_path):
    table = tabular([row(name) for name in NAMES])
    preamble = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,textcomp}"
    (tmp_path / "paper.tex").write_text(
        f"{preamble}\\begin{{document}}\n{table}\\end{{document}}\n", encoding="utf-8"
    )
    stop = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in str(ENGINE) else []
    done = subprocess.run(
        [str(ENGINE), *stop, "paper.tex"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
