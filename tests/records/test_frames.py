"""The DataFrames: flat, of values that can be grouped by and written to any file, each column explained."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable

import pandas as pd
import pytest

import metabench
from metabench.records import store
from metabench.records.frames import FIRST
from tests import builders

PARAMETERS = (
    ("maml", {"inner_lr": 0.1, "inner_steps": 1, "first_order": False, "norm": "batch", "sizes": [3, 4], "odd": 1}),
    ("other", {"inner_lr": 1, "odd": "one"}),
    ("maml", {"inner_lr": 1, "inner_steps": 2, "first_order": True, "norm": None, "sizes": [], "odd": "x"}),
)


@pytest.fixture
def frames(tmp_path):
    for seed, (name, parameters) in enumerate(PARAMETERS):
        trial = builders.trial(name, "glyphs", seed, algorithm_parameters=parameters, suite_parameters={"ways": 5})
        store.write(tmp_path, builders.outcome(trial, {"transductive": [[0.5, 0.6]]}))
    return metabench.load(tmp_path), metabench.load_tasks(tmp_path)


def test_parameters_are_columns_of_their_own_type(frames):
    trials = frames[0].set_index("seed")
    assert trials["glyphs.ways"].to_list() == [5, 5, 5]
    assert trials["maml.inner_lr"].dropna().to_dict() == {0: 0.1, 2: 1.0}
    assert trials["maml.inner_steps"].dropna().to_dict() == {0: 1, 2: 2}
    assert str(trials["maml.inner_steps"].dtype) == "Int64"
    assert trials["maml.first_order"].dropna().to_dict() == {0: False, 2: True}
    assert trials["maml.sizes"].dropna().to_dict() == {0: "[3,4]", 2: "[]"}
    assert trials["maml.odd"].dropna().to_dict() == {0: "1", 2: "x"}


def test_every_value_can_be_grouped_by_and_written(frames, tmp_path):
    for frame in frames:
        assert all(isinstance(value, Hashable) for column in frame for value in frame[column])
        for column in frame:
            assert len(frame.groupby(column, dropna=False)) == frame[column].nunique(dropna=False)
    pytest.importorskip("pyarrow")
    for frame in frames:
        frame.to_parquet(tmp_path / "frame.parquet")
        back = pd.read_parquet(tmp_path / "frame.parquet")
        pd.testing.assert_frame_equal(frame, back, check_dtype=False)


def test_what_is_looked_for_comes_first_and_every_column_is_explained(frames):
    trials, tasks = frames
    assert tuple(trials.columns[: len(FIRST)]) == FIRST
    assert list(tasks.columns[:3]) == ["algorithm", "suite", "seed"]
    for function, frame in ((metabench.load, trials), (metabench.load_tasks, tasks)):
        text = inspect.getdoc(function)
        for column in frame.columns:
            known = "." in column or column == "accuracy" or f"* `{column}`: " in text
            assert known, column
        assert ": \n" not in text


def test_a_notebook_shows_as_many_digits_as_numbers_deserve(tmp_path):
    """A score as finely as its interval allows, in what is made of a frame too; the values stay exact."""
    cells = {"transductive": [[0.5, 0.512345]]}
    changes = {"train_seconds": 12.3456, "peak_memory_mb": 1234.56}
    store.write(tmp_path, builders.outcome(builders.trial("maml"), cells, **changes))
    trials, tasks = metabench.load(tmp_path), metabench.load_tasks(tmp_path)
    ((score, half),) = trials[["score", "ci95"]].to_numpy()
    decimals = 1 - math.floor(math.log10(half))
    for frame in (trials, trials[trials["seed"] == 0].sort_values("score").reset_index(drop=True)):
        html = frame._repr_html_()
        assert all(f"<td>{shown}</td>" in html for shown in (f"{score:.{decimals}f}", f"{half:.{decimals}f}", "12.3"))
        assert f"{score}" not in html
        assert "<td>1235</td>" in html
        assert frame["train_seconds"].item() == 12.3456
    assert "<td>0.512</td>" in tasks._repr_html_()
    assert "0.512345" in tasks.to_csv()


def test_a_long_frame_is_cut_in_a_notebook(tmp_path):
    store.write(tmp_path, builders.outcome(builders.trial("maml"), {"transductive": [[0.5] * 300]}))
    html = metabench.load_tasks(tmp_path)._repr_html_()
    assert html.count("<tr") < 20
    assert "300 rows" in html
