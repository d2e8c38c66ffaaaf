"""results/: atomic, readable, resumable; trials and records survive the way through JSON."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metabench
from metabench.errors import UserError
from metabench.records import files, store
from metabench.records.record import Outcome
from metabench.records.trials import NOT_HASHED, Budget, Trial, Tuning
from tests import builders

TRIAL = builders.trial(algorithm_parameters={"lr": 0.1, "n": 2})


def outcome(seed=0, status="ok"):
    of = msgspec.structs.replace(TRIAL, seed=seed)
    if status != "ok":
        return builders.failure(of, status)
    return builders.outcome(of, {"transductive": [[0.1, 0.3], [0.4, 0.6]]}, metric="acc", higher_is_better=True)


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-9, 9), st.floats(allow_nan=False), st.text())),
    st.integers(0, 2**40),
)
def test_a_trial_is_its_json(parameters, seed):
    trial = builders.trial(algorithm_parameters=parameters, seed=seed)
    again = msgspec.json.decode(msgspec.json.encode(trial), type=Trial)
    assert again.id == trial.id
    backwards = dict(reversed(list(parameters.items())))
    assert msgspec.structs.replace(trial, algorithm_parameters=backwards).id == trial.id


def test_every_setting_of_a_trial_is_in_its_id():
    changed = [
        {"algorithm": "b"},
        {"algorithm_parameters": {"lr": 0.2, "n": 2}},
        {"suite": "t"},
        {"suite_parameters": {"ways": 2}},
        {"seed": 1},
        {"budget": Budget(updates=1)},
        {"protocol": "both"},
        {"precision": "bf16"},
        {"pruning_thresholds": ((10, 0.5),)},
        {"tuning": Tuning(trials=3, updates=10, score=0.5, recipe="abc")},
        {"label_permutations": 2},
    ]
    ids = {msgspec.structs.replace(TRIAL, **fields).id for fields in changed} | {TRIAL.id}
    assert len(ids) == len(changed) + 1
    assert {name for fields in changed for name in fields} == set(Trial.__struct_fields__) - NOT_HASHED
    assert msgspec.structs.replace(TRIAL, default_settings=True).id == TRIAL.id  # says where settings come from


def test_written_records_come_back(tmp_path):
    for seed in (1, 0):
        store.write(tmp_path, outcome(seed))
    assert [record.trial.seed for record in store.records(tmp_path)] == [0, 1]
    frame = metabench.load(tmp_path)
    wanted = (
        "algorithm suite seed status metric score ci95 transductive updates train_seconds adapt_ms "
        "peak_memory_mb strategy"
    ).split()
    assert set(wanted) <= set(frame.columns)
    assert frame["score"].tolist() == [0.5, 0.5]
    assert frame["updates"].tolist() == [1000, 1000]
    tasks = metabench.load_tasks(tmp_path)
    assert len(tasks) == 2 * 2 * 2
    assert tasks.query("seed == 0 and step == 1 and task == 0")["acc"].tolist() == [0.4]


def test_failed_trials_are_rows_and_run_again(tmp_path):
    store.write(tmp_path, outcome(0, "error"))
    store.write(tmp_path, outcome(1, "diverged"))
    frame = metabench.load(tmp_path)
    assert frame["status"].tolist() == ["error", "diverged"]
    assert frame["score"].isna().all()
    found = {record.status: record for record in store.records(tmp_path)}
    assert [store.is_final(found[name], retry_failed=False) for name in ("error", "diverged")] == [True, True]
    assert [store.is_final(found[name], retry_failed=True) for name in ("error", "diverged")] == [False, True]
    assert not store.is_final(None, retry_failed=False)


def test_an_unreadable_record_is_passed_over_with_a_warning(tmp_path):
    store.write(tmp_path, outcome(0))
    store.write(tmp_path, outcome(1))
    torn = tmp_path / outcome(0).record.trial.id / "record.json"
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.warns(UserWarning, match="Skipped .*record.json"):
        assert [record.trial.seed for record in store.records(tmp_path)] == [1]


def test_a_record_of_a_newer_version_is_refused_clearly(tmp_path):
    store.write(tmp_path, Outcome(msgspec.structs.replace(outcome().record, version=99), {}))
    with pytest.raises(UserError, match=r"newer metabench .record version 99"):
        list(store.records(tmp_path))


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "file"
    files.write_atomically(target, b"old")
    monkeypatch.setattr(files.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="There is no results folder"):
        metabench.load(tmp_path / "none")
    (tmp_path / "file.txt").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"file\.txt' is a file, not a results folder"):
        metabench.load(tmp_path / "file.txt")
    assert metabench.load(tmp_path).empty
    assert isinstance(metabench.load_tasks(tmp_path), pd.DataFrame)


def test_an_unwritable_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="Cannot write to the results folder .*Choose another with --out"):
        store.ensure_writable(tmp_path / "file" / "results")
