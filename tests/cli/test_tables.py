"""Tables on terminals of any width: no word is broken where there is room for it, and no name is lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from metabench.cli.commands import console
from metabench.cli.tables import WordTable, short_table

WORDS = st.text("abc./-é長", min_size=1, max_size=12)
CELLS = st.lists(WORDS, max_size=6).map(" ".join)
SIZES = st.integers(1, 6)
TABLES = SIZES.flatmap(lambda n: st.tuples(*(st.lists(st.tuples(*n * [of]), min_size=1) for of in (WORDS, CELLS))))


def drawn(table, width: int) -> list[str]:
    """Its lines."""
    to = Console(width=width, record=True, file=io.StringIO())
    to.print(table)
    return to.export_text().splitlines()


@given(TABLES, st.integers(42, 200), st.integers(0, 3))
def test_words_are_whole_and_lines_fit(table, width, spare):
    (headings, *_), rows = table
    gone = headings[len(headings) - spare :]
    lines = drawn(WordTable(headings, rows, gone), width)
    words = {word for row in rows for cell, name in zip(row, headings) if name not in gone for word in cell.split()}
    assert words <= set(" ".join(lines).replace("│", " ").split())
    assert all(len(line) <= width for line in lines)


def test_a_number_stays_beside_its_interval_and_what_can_be_spared_goes_first():
    table = WordTable(("algorithm", "mse", "time"), [("maml", "4.84 ± 0.51", "× 1.00")], spare=("time",))
    assert drawn(table, 80)[3] == "│ maml      │ 4.84 ± 0.51 │ × 1.00 │"
    assert drawn(table, 30)[3] == "│ maml      │ 4.84 ± 0.51 │"
    assert [line.rstrip() for line in drawn(table, 20)] == ["maml", "  mse   4.84 ± 0.51", "  time  × 1.00"]


@pytest.mark.parametrize("width", [30, 60, 80, 140])
def test_names_are_whole_and_what_they_are_is_cut(width):
    lines = drawn(short_table(("algorithm", "what it is"), [("a-long-name", 40 * "word "), ("b", "short")]), width)
    assert [line.split()[0] for line in lines] == ["algorithm", "a-long-name", "b"]
    assert "…" in lines[1]
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [50, 80])
def test_every_name_is_in_the_list_on_a_terminal(here, registry, monkeypatch, width):
    monkeypatch.setattr(console, "_width", width)
    lines = here("list").stdout.splitlines()
    assert {*registry.algorithms, *registry.suites} <= {line.split()[0] for line in lines}
