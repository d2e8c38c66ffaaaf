"""The published numbers that were made again: the committed records, their report and the README say the same."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from metabench.experiments import reproduce
from metabench.records import store
from metabench.registry.published import load_published
from metabench.report import formatting, published
from metabench.report.collect import configurations

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "papers"
README = (ROOT / "README.md").read_text("utf-8")


def beside(results: Path) -> list[published.Beside]:
    """Every committed configuration beside its published number."""
    groups = configurations.collect(store.records(results), results)
    return published.against(groups, load_published(str(ROOT / "plugins" / "published.toml")))


@pytest.fixture(scope="module")
def rows() -> list[published.Beside]:
    """Those of the README."""
    return beside(RESULTS)


@pytest.mark.parametrize("name", ["papers", "papers-navigation"])
def test_the_report_has_what_the_records_say(name):
    rows = beside(RESULTS.parent / name)
    text = (ROOT / "reports" / name / "tables" / "published.csv").read_text("utf-8")
    columns = ["algorithm", "test_steps", "score", "ci95", "published", "verdict"]
    again = pd.read_csv(io.StringIO(published.frame(rows).to_csv(index=False)))
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text))[columns], again[columns])


def test_the_readme_has_every_comparable_number_of_three_seeds_with_its_verdict(rows):
    """A row of its table has the numbers after 1, 5 and 10 steps side by side, and one verdict."""
    table = [line for line in README.splitlines() if re.search(r"\| ((not )?reproduced|undecided) \|$", line)]
    shown = [row for row in rows if row.seeds >= published.SEEDS and row.verdict != "not comparable"]
    assert len(shown) > 7
    for row in shown:
        ours = formatting.with_interval(row.score, row.ci95, row.metric)
        assert any(ours in line and line.endswith(f"| {row.verdict} |") for line in table), ours


def test_the_command_finds_its_trials_finished(registry):
    """So a reader's `metabench reproduce` compares at once, and a change of settings would be seen here."""
    known = {record.trial.id for record in store.records(RESULTS)}
    omniglot = ("maml omniglot 5w1s", "maml omniglot 5w1s mlp", "maml omniglot 5w5s mlp", "fomaml omniglot 5w1s")
    for words in ("finn sinusoid maml", "finn sinusoid finetune", *omniglot):
        made = reproduce.reproduction(words, {"seeds": 3, "out": str(RESULTS)}, dry=True)
        assert {trial.id for trial in made.planned.trials} <= known
