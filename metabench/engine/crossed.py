"""Trained once, tested on several suites: a test on another suite takes the state that was learnt for the source."""

from __future__ import annotations

import msgspec

from metabench.api import Learner
from metabench.engine.build import build_suite
from metabench.engine.digests import code_digests, code_now, data_digests
from metabench.engine.kept_state import read_state, restore
from metabench.engine.learner import BatchedLearner
from metabench.engine.seeds import streams_kept
from metabench.engine.state import TrialRun, TrialState
from metabench.errors import UserError, one_line
from metabench.records import store
from metabench.records.files import DamagedError
from metabench.records.matching import changes
from metabench.records.provenance import version_of
from metabench.records.record import Record
from metabench.records.trials import Trial


def take_training(run: TrialRun, learner: Learner, state: TrialState) -> str:
    """Give the learner what the same training has learnt before, if that lies beside this trial, with its clocks.

    Returns what the record should say of it; empty where the trial is trained itself. Only learners that are
    functions of one task: what another has drawn from global random streams would be missing.
    """
    alone = run.trial.trained_alone
    if alone is None or run.keeper.results is None or not isinstance(learner, BatchedLearner) or state.update:
        return ""
    try:
        record = store.record_of(run.keeper.results, alone.id)
        content = store.read_state(run.keeper.results, record) if record and usable(record, run, alone) else None
        if record is None or content is None:
            return ""
        header, learnt = read_state(content)
        if header["versions"]["metabench"] != version_of("metabench"):
            return ""
        restore(learner, learnt)
    except (DamagedError, UserError, OSError) as error:
        return f"trained itself: the state of '{alone.id}' cannot be used ({one_line(error)})"
    state.curve, state.update = list(record.curve), run.trial.budget.updates if learner.trainable else 0
    state.selection, state.selected_update = record.selection, record.selected_update
    for clock in ("train", "sample", "validation"):
        state.seconds[clock] = getattr(record, f"{clock}_seconds")
    return f"not trained again: it has the state and the training times of '{alone.id}'"


def usable(record: Record, run: TrialRun, alone: Trial) -> bool:
    """Whether a record is of the code, the data and the way of computing that this trial has."""
    if record.status != "ok" or (run.execution.deterministic and not record.provenance.deterministic):
        return False
    now, then = code_digests(code_now(run.registry, [alone]), alone), record.provenance.digests
    if None in (then.algorithm, then.suite, then.data) or changes(record, now):
        return False
    with streams_kept():
        suite = build_suite(run.registry, alone)
        suite.prepare()
    data = data_digests(alone, suite)
    return not changes(record, msgspec.structs.replace(now, data=data.data, tests=data.tests))
