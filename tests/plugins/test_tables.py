"""A table of one's own is read in one way, or refused in one line with the editor's row number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metabench.engine.seeds import random_generator
from metabench_plugins.suites.csv_file import header_of, line_of, records_of
from metabench_plugins.suites.tabular import tabular
from tests.malformed import tries

SPLITS = ("train", "validation", "test")


def frame(tasks: int = 10, rows: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = np.repeat([f"t{number}" for number in range(tasks)], rows)
    return pd.DataFrame({"task": names, "x": rng.normal(size=len(names)), "target": rng.normal(size=len(names))})


def suite(path: Path, whole: pd.DataFrame | None = None, **parameters):
    if whole is not None:
        whole.to_csv(path, index=False)
    built = tabular(**{"path": str(path), "shots": 2, "queries": 2, **parameters})
    built.prepare()
    return built


def refused(path: Path, whole: pd.DataFrame | None = None, **parameters) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        suite(path, whole, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("column", "spelt"), [("x", "x"), ("target", " target "), ("é", "e\u0301")])
def test_a_name_that_comes_twice_is_refused(tmp_path, column, spelt):
    whole = frame().assign(é=1.0)
    whole.insert(0, "new", whole[column])
    whole.columns = [spelt if name == "new" else name for name in whole.columns]
    assert f"two columns are called '{column}'" in refused(tmp_path / "t.csv", whole)


def test_no_column_is_renamed(tmp_path):
    whole = frame()
    whole["target.1"], whole["Unnamed: 7"] = whole["target"] * 2, whole["x"]
    assert suite(tmp_path / "t.csv", whole, features=("target.1", "Unnamed: 7"))


def test_equal_numbers_are_one_class_and_one_task(tmp_path):
    whole = frame()
    whole["target"] = ["1", "1.0", "2", "+2", "2e0", "1.00"] * 10
    whole["task"] = [f"{place // 6}{'.0' if place % 2 else ''}" for place in range(60)]
    built = suite(tmp_path / "t.csv", whole)
    assert built.model()(built.sample("train", 1, random_generator("m")).support.x[0]).shape[-1] == 2
    assert frozenset.union(*map(built.groups, SPLITS)) == {str(number) for number in range(10)}
    assert "column 'target' writes 4 numbers in more than one way: '+2' is read as '2'" in "".join(built.notes())
    large = whole.assign(target=["9007199254740993", "9007199254740992"] * 30)
    assert len(suite(tmp_path / "l.csv", large, kind="classification").notes()) == 1  # they differ, as floats do not
    text = whole.assign(target=["1", "1.0", "one"] * 20)
    assert len(suite(tmp_path / "w.csv", text).notes()) == 1  # of the tasks: with a word among them they are words


def test_names_are_compared_in_one_form(tmp_path):
    whole = frame().rename(columns={"task": "tâche"})
    whole["tâche"] = ["é1", "e\u03011"] * 30
    whole["part"] = "train"
    assert "no task is in the validation split" in refused(
        tmp_path / "t.csv", whole, task="ta\u0302che", split="part", features=("x",)
    )


@pytest.mark.parametrize("power", [-300, -200, -30, 30, 90])
def test_numbers_of_any_size_are_scaled_alike(tmp_path, power):
    whole, same = frame(), frame()
    whole[["x", "target"]] *= 10.0**power
    one, other = (
        suite(tmp_path / f"{name}.csv", each).sample("train", 20, random_generator("s"))
        for name, each in (("a", same), ("b", whole))
    )
    for left, right in zip((*one.support, *one.query), (*other.support, *other.query)):
        assert left.numpy() == pytest.approx(right.numpy(), rel=1e-5)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", 1e200, "column 'x' has numbers beyond 1e+100, which would overflow: 1e+200 in row 4"),
        ("target", -1e150, "column 'target' has numbers beyond 1e+100"),
        ("x", "1e999", "column 'x' must hold numbers, but has '1e999' in row 4"),
    ],
)
def test_numbers_that_overflow_are_refused(tmp_path, column, value, message):
    whole = frame().astype({column: object})
    whole.loc[2, column] = value
    assert message in refused(tmp_path / "t.csv", whole, kind="regression")


def test_a_number_that_scaling_makes_infinite_is_refused(tmp_path):
    whole = frame()
    whole["part"] = np.repeat(["train", "validation", "test"], 20)
    whole["x"] *= 1e-50
    whole.loc[59, "x"] = 1.0
    assert "column 'x' is too far from its training values to be scaled in row 61" in refused(
        tmp_path / "t.csv", whole.assign(task=np.repeat(list("abcdef"), 10)).assign(
            part=np.repeat(["train", "train", "validation", "validation", "test", "test"], 10)
        ), split="part", features=("x",),
    )  # fmt: skip


def test_constant_targets_and_empty_files_are_refused(tmp_path):
    assert "column 'target' is 0.5 in all training tasks" in refused(tmp_path / "t.csv", frame().assign(target=0.5))
    assert "the training tasks have one class only, '3'" in refused(tmp_path / "c.csv", frame().assign(target=3))
    for content, message in ((b"", "it is empty"), (b"\n\n", "it is empty"), (b"task,target,x\n", "but no rows")):
        (tmp_path / "e.csv").write_bytes(content)
        assert message in refused(tmp_path / "e.csv")


def test_rows_are_numbered_as_in_an_editor(tmp_path):
    lines = ["task,x,target,note", 't0,1,2,"two', 'lines"', "", 't0,wide,2,""']
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "column 'task' is empty in row 4" in refused(tmp_path / "t.csv", features=("x",))
    (tmp_path / "t.csv").write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    assert "must hold numbers, but has 'wide' in row 4" in refused(tmp_path / "t.csv", features=("x",))
    (tmp_path / "t.csv").write_text("\r\n".join([*lines[:3], "t0,1,2,3,4"]) + "\r\n", encoding="utf-8", newline="")
    assert "row 4 has 5 cells, but the header has 4" in refused(tmp_path / "t.csv", features=("x",))
    (tmp_path / "t.csv").write_text("\n".join([*lines[:3], 't0,1,2,"never', "t1,1,2,3"]), encoding="utf-8")
    assert "a quote that begins in row 4 never ends" in refused(tmp_path / "t.csv", features=("x",))
    (tmp_path / "t.csv").write_text("\n".join([*lines[:3], f"t0,1,2,{'x' * 200_000}", ",1,2,3"]), encoding="utf-8")
    assert "row 4 cannot be read: field larger than field limit" in refused(tmp_path / "t.csv", features=("x",))


CELLS = st.text('a ,"\n\ré', max_size=5)


@tries(40)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8))
def test_any_row_is_found_where_an_editor_shows_it(tmp_path_factory, rows):
    """What is written comes back, and the line before a row's number ends the row before."""
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["task", "x", "target"])
        writer.writerows(rows)
    assert header_of(path) == ["task", "x", "target"]
    assert [row for _, row in records_of(path)][1:] == rows
    with open(path, encoding="utf-8", newline="") as file:
        lines = file.read().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for place, row in enumerate(rows):
        first = '"' + row[0].replace('"', '""').replace("\r\n", "\n").replace("\r", "\n").split("\n")[0]
        assert lines[line_of(path, place) - 1].startswith(first)


def test_a_file_that_changes_is_read_again(tmp_path):
    first = suite(tmp_path / "t.csv", frame())
    other = suite(tmp_path / "t.csv", frame().assign(target=range(60)))
    assert first.digest() != other.digest()


def test_drawing_rows_does_not_depend_on_the_largest_task(tmp_path):
    """Floyd's sampling takes a few numbers a task, where sorting keys took one for each row."""
    from unittest.mock import patch

    import torch

    whole = pd.concat([frame(), pd.DataFrame({"task": "t0", "x": 0.0, "target": np.arange(5000) % 7 + 0.5})])
    built = suite(tmp_path / "t.csv", whole)
    drawn = []
    rand = torch.rand

    def counted(*shape, **options):
        made = rand(*shape, **options)
        drawn.append(made.numel())
        return made

    with patch.object(torch, "rand", counted):
        built.sample("train", 20, random_generator("big"))
    assert sum(drawn) <= 20 * 4 * 2
