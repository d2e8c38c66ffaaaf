"""The pages about the family: every algorithm of ours is in them, and no number is promised that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import family
from metabench.registry.discovery import load_registry
from metabench.registry.published import load_published

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
    assert shown.strip() == family.table(pd.read_csv(family.CSV))
    assert "| `maml` |" in shown


def test_the_costs_on_the_page_are_those_that_were_measured():
    page = family.PAGE.read_text("utf-8")
    assert family.with_costs(page) == page
    assert "| `maml` | initial weights | all weights | second | 1.0 |" in page
