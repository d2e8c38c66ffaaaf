"""What a status means is one row of a table, and everything goes by it."""

from __future__ import annotations

from typing import get_args

import pytest

from metabench.records import store
from metabench.records.checkpoints import NAME as CHECKPOINT
from metabench.records.folder import clean, folder_status
from metabench.records.record import Outcome, Record
from metabench.records.status import STATUSES, Status
from metabench.records.trials import Trial

TRIAL = Trial(algorithm="a", algorithm_parameters={}, suite="s", suite_parameters={}, seed=0)


def test_the_table_has_every_status_that_a_record_may_have():
    assert STATUSES.keys() == set(get_args(Status))
    assert all(meaning.final for meaning in STATUSES.values() if not meaning.failure)


@pytest.mark.parametrize("status", STATUSES)
def test_a_folder_goes_by_the_table(tmp_path, status):
    meaning = STATUSES[status]
    checkpoint = tmp_path / TRIAL.id / CHECKPOINT
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"")
    store.write(tmp_path, Outcome(Record(trial=TRIAL, status=status, reason="why"), {}))
    (record,) = store.records(tmp_path)
    assert (record.is_failure, record.is_final) == meaning
    assert checkpoint.exists() is not meaning.final
    assert store.is_final(record, retry_failed=False)
    assert store.is_final(record, retry_failed=True) is meaning.final
    told = folder_status(tmp_path)
    assert told.counts == {status: 1}
    assert told.failures == ([f"{TRIAL.id}: {status}, why"] if meaning.failure else [])
    assert (
        bool(clean(tmp_path, failed=True, checkpoints=False, damaged=False, trials=[], dry=True)) is not meaning.final
    )
