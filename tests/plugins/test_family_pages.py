"""The pages about the family: every algorithm of ours is in them, and no number is promised that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import family
from metabench.records import store
from metabench.records.provenance import Digests, Provenance
from metabench.registry.discovery import load_registry
from metabench.registry.published import load_published
from metabench.report.collect.configurations import collect
from tests.builders import failure, outcome, trial

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = load_registry()
SOURCES = {plugin.name: plugin.source for plugin in REGISTRY.plugins}
OURS = {name for name, entry in REGISTRY.algorithms.items() if ".algorithms." in SOURCES[entry.plugin]}


@pytest.mark.parametrize("page", ["fidelity.md", "which-algorithm.md"])
def test_every_algorithm_of_ours_has_a_row(page):
    text = (ROOT / "docs" / page).read_text("utf-8")
    first_cells = re.findall(r"^\| (`[^|]*`) \|", text, flags=re.M)
    assert OURS - {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)} == set()


def test_the_published_numbers_that_the_page_promises_are_those_there_are():
    text = (ROOT / "docs" / "which-algorithm.md").read_text("utf-8")
    promised = re.search(r"\*\*Published numbers\*\* stand for (.*?): ", text, flags=re.S)
    assert promised is not None
    book = load_published(str(ROOT / "plugins" / "published.toml"))
    there = {name for number in book.numbers for name in number.algorithms}
    assert set(re.findall(r"`([^`]+)`", promised[1])) == there & OURS


def test_the_scores_on_the_page_are_those_that_were_measured():
    _, _, rest = family.PAGE.read_text("utf-8").partition(family.BEGIN)
    shown, _, _ = rest.partition(family.END)
    assert shown.strip() == family.table(family.read_scores())
    assert "| `maml` |" in shown


def test_the_costs_on_the_page_are_those_that_were_measured():
    page = family.PAGE.read_text("utf-8")
    assert family.with_costs(page) == page
    assert "| `maml` | initial weights | all weights | second | 1.0 |" in page


def test_the_table_asks_for_every_algorithm_of_ours_but_those_for_policies():
    assert OURS - set(family.algorithms()) == {"maml-trpo", "oracle"}


def test_what_is_not_there_and_by_which_code_the_rest_is_stands_under_the_table(tmp_path):
    trials = [trial(name, "sinusoid", seed) for name in ("maml", "scratch", "new", "odd") for seed in (0, 1)]
    third = trial("maml", "sinusoid", 2)
    then = Provenance(git="0123456789ab", digests=Digests(algorithm="then"))
    for of in (*trials[:3], third):
        store.write(tmp_path, outcome(of, {"inductive": [[3.0, 4.0], [1.0, 2.0]]}, "mse", provenance=then))
    store.write(tmp_path, failure(trials[3], "diverged"))
    for of in trials[6:]:
        store.write(tmp_path, failure(of, "unfit"))
    records = {one.trial.id: one for one in store.records(tmp_path)}
    rows = family.rows(collect(records.values(), tmp_path), trials, records, {"algorithm maml": "now"})
    found = pd.DataFrame(rows, columns=family.COLUMNS)
    assert found.set_index("algorithm").seeds.to_dict() == {"maml": 3, "scratch": 1, "new": 0, "odd": 0}
    text = family.table(found)
    assert "odd" not in text, "what does not fit is nobody's loss"
    assert "| `scratch` (1 of 2 seeds) | 1.50 ± " in text
    assert "| `maml` (3 seeds) | 1.50 ± " in text
    for remark in ("not run yet: `new`", "`scratch`: 1 diverged", "before a later change: `maml`", "0123456 (4)"):
        assert remark in text


def test_a_part_that_was_run_alone_leaves_the_other_rows():
    columns = ["suite", "algorithm", "asked", "seeds", "lost", "score"]
    rows = [("a", "maml", 3, 3, "", 0.5), ("a", "new", 3, 1, "2 not run", 0.6), ("a", "old", 3, 3, "", 0.7)]
    rows.append(("a", "odd", 3, 0, "3 unfit", None))
    written = pd.DataFrame(rows, columns=columns)
    rows = [("a", "new", 3, 3, "", 0.8), ("a", "old", 3, 0, "3 diverged", None)]
    rows += [("a", name, 3, 0, "3 not run", None) for name in ("maml", "none", "odd")]
    kept = family.with_kept(pd.DataFrame(rows, columns=columns), written)
    assert dict(zip(kept.algorithm, kept.seeds)) == {"maml": 3, "new": 3, "none": 0, "odd": 0, "old": 0}
    assert kept.set_index("algorithm").lost["odd"] == "3 unfit"
    assert sorted(kept.score.dropna()) == [0.5, 0.8]
