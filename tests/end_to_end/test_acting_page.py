"""What docs/learning-to-act.md, and the README of it, say of returns are the means of the committed scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/learning-to-act.md").read_text("utf-8").replace("−", "-")
README = (ROOT / "README.md").read_text("utf-8").replace("−", "-")
NUMBER = r"-?\d+(?:\.\d+)?"


def means(results: str, **wanted: str) -> np.ndarray:
    """By inner step over all seeds and tasks of the trials that have these values."""
    found = []
    for path in sorted(ROOT.glob(f"results/{results}/*/record.json")):
        trial = json.loads(path.read_text("utf-8"))["trial"]
        if wanted.items() <= {"algorithm": trial["algorithm"], **trial["suite_parameters"]}.items():
            (scores,) = json.loads(path.with_name("scores.json").read_text("utf-8")).values()
            found.append(scores["return"])
    return np.mean(found, (0, 2))


def said(text: str) -> list[str]:
    """The values of a row, without their intervals."""
    return re.findall(rf"({NUMBER})(?: ± {NUMBER})?", text)


def holds(text: str, expected: np.ndarray) -> None:
    shown = said(text)[: len(expected)]
    assert shown == [f"{mean:.{len(each.partition('.')[2])}f}" for mean, each in zip(expected, shown, strict=True)]


@pytest.mark.parametrize(
    "algorithm", ["cavia", "maml", "metasgd", "fomaml", "anil", "finetune", "reptile", "scratch"]
)
def test_navigation(algorithm):
    row = PAGE[PAGE.index(f"\n| `{algorithm}` | -") :].partition("|")[2].partition("|")[2].partition("\n")[0]
    holds(row, means("navigation", algorithm=algorithm))


@pytest.mark.parametrize("estimator", ["reinforce", "lvc", "pathwise", "dice"])
def test_estimators(estimator):
    row = next(line for line in PAGE.splitlines() if re.match(rf"\| `{estimator}` \| -", line))
    holds(row, means("estimators", estimator=estimator))


def test_the_published_protocol():
    for algorithm in ("maml", "maml-trpo"):
        expected = means("papers-navigation", algorithm=algorithm)
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{algorithm}`, "))
        holds(row.split("|", 2)[2], expected)
        (row,) = (line for line in README.splitlines() if "[2D navigation]" in line and f"`{algorithm}`" in line)
        holds(row.split("|")[3], expected)


@pytest.mark.parametrize("goal", ["direction", "velocity"])
def test_the_cheetah(goal):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {goal} | "))
    for cell, algorithm in zip(row.split("|")[2:], ("maml", "fomaml", "finetune", "scratch")):
        holds(cell, means("cheetah", algorithm=algorithm, goal=goal))
