"""The committed transfer gaps: the table, and what docs/crossing-domains.md says, are those of the records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.report import formatting

ROOT = Path(__file__).parents[2]


def test_gaps_are_those_of_the_scores():
    scores: dict[tuple[str, int, str], np.ndarray] = {}
    for path in ROOT.glob("results/crossing/*/record.json"):
        trial = json.loads(path.read_text("utf-8"))["trial"]
        shots = trial["suite_parameters"].get("shots") or trial["suite_parameters"]["emnist.shots"]
        by_step = json.loads(path.with_name("scores.json").read_text("utf-8"))["transductive"]["accuracy"]
        scores[trial["suite"], shots, trial["algorithm"]] = np.array(by_step[-1])
    table = pd.read_csv(ROOT / "reports/crossing/tables/transfer.csv")
    page = (ROOT / "docs/crossing-domains.md").read_text("utf-8")
    assert len(table) == len(scores) / 2 == 8
    for row in table.itertuples():
        shots = 5 if "shots=5" in row.suite else 1
        near, far = (scores[suite, shots, row.algorithm] for suite in ("emnist", "omniglot:emnist"))
        means = (near.mean(), far.mean(), (near - far).mean())
        assert np.allclose((row.near, row.far, row.gap), means, rtol=0, atol=1e-9)
        if row.gap:
            halves = zip((row.near, row.far), (row.near_ci95, row.far_ci95))
            cells = [f"{100 * mean:.1f} ± {100 * half:.1f}%" for mean, half in halves]
            gap = formatting.difference(row.gap, row.gap_ci95, "accuracy").removesuffix(" points")
            assert f"| {' | '.join([*cells, f'{gap} points', f'{row.cohens_d:.2f}'])} |" in page
