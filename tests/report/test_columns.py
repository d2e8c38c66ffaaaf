"""The one table of columns: a row that is added stands in every table, and the order of files stays as it is."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from metabench.cli.tables import results_table
from metabench.records import store
from metabench.records.columns import COLUMNS, ORDER_OF_SUMMARY, ORDER_OF_TRIALS, Column, of_summary, of_trials
from metabench.records.frames import load
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.analysis.summary import POOLED, summary_table
from metabench.report.build import build_report
from tests.report.test_report import outcome, trial
from tests.sketches import sketched

pytestmark = pytest.mark.xdist_group("one report of columns")

LATER = ["tasks_seen", "inner_gradients", "train_sd", "adapt_sd"]
"""Columns of the summary since; what is new comes last."""
ADDED = Column(
    "swaps", lambda record, protocol: record.trial.seed + 40.5, "highest", "swaps", "GB", "amount",
    shown=("summary", "page", "report.md", "latex", "terminal", "trials"),
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, object]:
    """What is made of two trials with a row more in the table of columns."""
    root, columns = tmp_path_factory.mktemp("results"), (*COLUMNS, ADDED)
    for seed in range(2):
        store.write(root, outcome(trial("maml", "glyphs", seed), 0.5))
    with sketched():
        files = build_report([root], None, columns, ["svg"]).files
    terminal = summary_table(store.records(root), root, columns)
    return {
        "load": load(root, columns),
        "terminal": terminal,
        "rich": results_table(terminal),
        **{name: content.decode("utf-8", "replace") for name, content in files.items()},
    }


def test_a_column_is_added_to_every_table_by_one_row(tables):
    assert tables["load"]["swaps"].to_list() == [40.5, 41.5]
    for name, values in (("trials", ["40.5", "41.5"]), ("summary", ["41.5"])):
        found = csv.DictReader(io.StringIO(tables[f"tables/{name}.csv"]))
        assert sorted(row["swaps"] for row in found) == values
    page = tables["index.html"]
    assert '<th scope="col">swaps<small>GB</small></th>' in page
    assert "<td>41.5</td>" in page
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*)</script>', page)
    assert sorted(each["cells"][-1] for each in json.loads(data)["trials"]) == [["40.5", 40.5], ["41.5", 41.5]]
    assert '<th scope="col" data-name="swaps">' in page
    lines = tables["report.md"].splitlines()
    assert any(line.endswith("| swaps (GB) |") for line in lines)
    assert any(line.endswith("| 41.5 |") for line in lines)
    assert "& swaps \\\\" in tables["tables/glyphs.tex"]
    assert "& 41.5 \\\\" in tables["tables/glyphs.tex"]
    assert (tables["terminal"].headings[-1], tables["terminal"].rows[0][-1]) == ("swaps GB", "41.5")
    assert tables["rich"].columns[-1] == "swaps GB"


def test_what_is_added_comes_last_in_files(tables):
    own = [name for name in tables["load"] if "." not in name]  # without NAME.PARAMETER
    assert sorted(own) == sorted([*ORDER_OF_TRIALS, "swaps"])
    assert own[-1] == "swaps"
    assert tables["tables/summary.csv"].splitlines()[0] == ",".join([*ORDER_OF_SUMMARY, *LATER, "swaps"])


def test_the_table_has_what_files_always_had():
    assert [column.name for column in of_trials()] == [*ORDER_OF_TRIALS, "digests"]  # what is new comes last
    assert [column.name for column in of_summary()] == [*ORDER_OF_SUMMARY, *LATER]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_row_can_be_written(column):
    names = {column.name for column in COLUMNS}
    assert len(names) == len(COLUMNS)
    assert set(column.beside.split()) <= names
    assert column.format in formatting.FORMATS
    assert not column.over_seeds or (column.over_seeds in POOLED and column.of_trial)
    assert not set(column.shown) - {"summary"} or column.heading or column.name == "standing"
    if column.of_trial:
        column.of_trial(Record(trial=trial("a", "s", 0), status="error"), "transductive")


def test_what_is_not_known_is_a_dash_and_sorts_last():
    row = {column.name: None for column in COLUMNS} | {"metric": "mse"}
    for name in ("score", "behind", "seed_sd", "transductive", "train_seconds", "strategy"):
        (column,) = [column for column in COLUMNS if column.name == name]
        assert formatting.text(column, row) == "–"
        assert formatting.exact(column, row) is None
    (score,) = [column for column in COLUMNS if column.name == "score"]
    assert formatting.exact(score, row | {"score": 0.0}) == 0.0
