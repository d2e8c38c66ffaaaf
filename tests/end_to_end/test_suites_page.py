"""What docs/suites.md says of accuracies is the means of the committed scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def test_cifar_fs():
    lines = (ROOT / "docs/suites.md").read_text("utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| `r2d2` |"))
    names, shown = ([cell.strip(" `") for cell in lines[i].strip("|").split("|")] for i in (at, at + 2))
    found: dict[str, list[float]] = {}
    for path in ROOT.glob("results/cifar-fs/*/record.json"):
        (scores,) = json.loads(path.with_name("scores.json").read_text("utf-8")).values()
        name = json.loads(path.read_text("utf-8"))["trial"]["algorithm"]
        found.setdefault(name, []).append(100 * np.mean(scores["accuracy"][-1]))
    assert dict(zip(names, shown, strict=True)) == {name: f"{np.mean(means):.1f}" for name, means in found.items()}
