"""Rows of published numbers: what one training gives is one row, and every row is found by its name."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from metabench.errors import UserError
from metabench.registry.published import load_published
from metabench.registry.published_rows import find, matching, rows

FILE = Path(__file__).resolve().parents[2] / "plugins" / "published.toml"
BOOK = load_published(str(FILE))
NAMES = {name for number in BOOK.numbers for name in number.algorithms}
ROWS = rows(BOOK.numbers, {number.suite: {"model": "conv"} for number in BOOK.numbers}, NAMES)


def test_every_number_is_in_a_row_of_each_of_its_algorithms():
    held = [(row.algorithm, number) for row in ROWS for number in row.numbers]
    assert len(held) == sum(len(number.algorithms) for number in BOOK.numbers)
    assert all(algorithm in number.algorithms for algorithm, number in held)


def test_the_numbers_of_a_row_differ_in_the_inner_steps_of_the_test_alone():
    for row in ROWS:
        facts = [{**number.protocol, "test_steps": 0} for number in row.numbers]
        assert all(each == facts[0] for each in facts), row.name
        assert len({number.protocol.get("test_steps") for number in row.numbers}) == len(row.numbers)
        assert row.facts.get("test_steps", 0) == max((n.ours | n.protocol).get("test_steps", 0) for n in row.numbers)


def test_a_row_is_found_by_its_name_in_any_order():
    for row in ROWS:
        words = row.name.split()
        random.Random(0).shuffle(words)
        assert find(" ".join(words).upper(), ROWS) == row


def test_names_are_apart():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_words_may_be_misspelt_or_said_in_another_way():
    row = next(row for row in ROWS if row.name.endswith("5w1s mlp"))
    assert find(f"{row.algorithm} omniglott 5-way 1-shot mlp", ROWS) == row
    assert row in matching("finn 1703.03400", ROWS)
    usual = rows(BOOK.numbers, {number.suite: {"model": "conv"} for number in BOOK.numbers}, NAMES)
    assert find(f"{row.algorithm} omnigolt 5w1s", usual).name == f"{row.algorithm} omniglot 5w1s", "no other word"


def test_several_rows_or_none_are_one_line_with_candidates():
    with pytest.raises(UserError, match=r"^'reptile omniglot' may be \d+ rows of published numbers: rep"):
        find("reptile omniglot", ROWS)
    with pytest.raises(UserError, match="^No published number is for 'zzz'. `metabench reproduce --list`"):
        find("zzz", ROWS)
    with pytest.raises(UserError, match="'cnp sinusoid'. Did you mean '[a-z0-9 -]*sinusoid'"):
        find("cnp sinusoid", ROWS)


def test_what_is_not_installed_has_no_row():
    assert rows(BOOK.numbers, {}, NAMES) == ()
    assert rows(BOOK.numbers, {number.suite: {} for number in BOOK.numbers}, ()) == ()


def test_what_stands_for_a_fact_is_what_is_set():
    row = next(
        row for row in ROWS for first in row.numbers[:1] if {"queries"} <= first.ours.keys() & first.protocol.keys()
    )
    number = row.numbers[0]
    assert row.facts["queries"] == number.ours["queries"] != number.protocol["queries"]
