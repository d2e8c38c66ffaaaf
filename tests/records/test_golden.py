"""Records that earlier versions wrote, and their tables and ids: read as before, whatever is rewritten."""

from __future__ import annotations

import ast
import io
import json
import warnings
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import metabench
from metabench.records import store
from metabench.records.record import RECORD_VERSION
from metabench.records.trials import Budget, Trial

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
VERSIONS = ("v1", "v2", "v3", "v4", "v5")
DICTS = ("algorithm_parameters", "suite_parameters")


@pytest.mark.parametrize("version", VERSIONS)
def test_tables_are_as_they_were(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is skipped
        tables = {"trials": metabench.load(GOLDEN / version), "tasks": metabench.load_tasks(GOLDEN / version)}
    for name, frame in tables.items():
        expected = pd.read_csv(GOLDEN / f"{version}.{name}.csv", dtype=str, keep_default_na=False)
        found = pd.read_csv(io.StringIO(frame.to_csv(index=False)), dtype=str, keep_default_na=False)
        for column in expected:
            if column in DICTS and int(version[1:]) < 5:  # until then what `load` gave was a dict
                assert list(map(json.loads, found[column])) == list(map(ast.literal_eval, expected[column]))
            else:
                assert found[column].to_list() == expected[column].to_list()
        assert all("." in column for column in found.columns.difference(expected.columns))  # NAME.PARAMETER


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_are_as_they_were(version):
    for folder in (path.parent for path in (GOLDEN / version).glob("*/record.json")):
        trial = msgspec.json.decode((folder / "record.json").read_bytes(), type=store.Record).trial
        assert trial.id == folder.name


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*/record.json")), ids=lambda path: path.parent.name)
def test_records_are_read_whole(path):
    raw = msgspec.json.decode(path.read_bytes())
    again = msgspec.json.decode(msgspec.json.encode(store.decode(path.read_bytes(), path)))
    assert again["provenance"] == raw["provenance"]
    for part, said in ((again, raw), (again["trial"], raw["trial"])):  # what is newer is there by default
        assert {name: part[name] for name in said if name != "trial"} == {n: said[n] for n in said if n != "trial"}


def test_every_status_that_is_no_accident_is_among_them():
    seen = {record.status for version in VERSIONS for record in store.records(GOLDEN / version)}
    assert seen == {"ok", "unfit", "pruned", "diverged"}
    assert any(record.trial.tuning for record in store.records(GOLDEN / "v3"))
    assert any(record.trial.default_settings for record in store.records(GOLDEN / "v4"))
    assert any(record.trial.swept for record in store.records(GOLDEN / "v5"))


def test_every_version_that_is_read_is_among_them():
    seen = {version: {record.version for record in store.records(GOLDEN / version)} for version in VERSIONS}
    assert seen == {f"v{version}": {version} for version in range(1, RECORD_VERSION + 1)}


class LaterBudget(Budget, frozen=True, kw_only=True):
    """A budget with a field that was added later."""

    patience: int = 0


class LaterTrial(Trial, frozen=True, kw_only=True):
    """A trial with a field that was added later."""

    budget: LaterBudget = LaterBudget()
    shift: str = ""


def test_a_field_added_later_is_hashed_only_where_it_is_not_its_default():
    for folder in (path.parent for path in GOLDEN.glob("*/*/record.json")):
        fields = msgspec.json.decode((folder / "record.json").read_bytes())["trial"]
        later = msgspec.convert(fields, LaterTrial)
        assert later.id == folder.name
        assert msgspec.structs.replace(later, shift="rotated").id != folder.name
        patient = msgspec.structs.replace(later.budget, patience=3)
        assert msgspec.structs.replace(later, budget=patient).id != folder.name
