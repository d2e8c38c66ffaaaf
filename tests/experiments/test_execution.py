"""Every way to run a trial computes it as the user asked, and `verify` as the record says it was."""

from __future__ import annotations

import msgspec
import pytest

from metabench.engine.run import run_trial
from metabench.experiments import execution, single_trial
from metabench.experiments.execution import make_execution
from metabench.experiments.executors.registry import EXECUTORS, ExecutorRow, ExecutorSetup, make_executor
from metabench.experiments.executors.worker_process import placed
from metabench.experiments.options import Options, rows
from metabench.experiments.read_options import read_options
from metabench.experiments.verify import compare, recorded_execution
from metabench.records.plugin_files import PluginFile
from metabench.records.provenance import Provenance
from metabench.records.record import Outcome, Record
from metabench.records.trials import Budget, Execution, Trial
from tests import builders

ASKED = {
    "strategy": "threaded",
    "rematerialise": True,
    "plain_layers": True,
    "deterministic": True,
    "checkpoint_every": "7",
    "plugins": ["/nowhere.py"],
    "keep_state": True,
    "keep_training_state": True,
}


def test_every_field_of_an_execution_comes_from_the_options():
    execution = make_execution(read_options(None, ASKED), "cuda", 2, (PluginFile("/nowhere.py"),))
    for field in msgspec.structs.fields(Execution):
        if field.name in ("code", "devices"):  # which are known once the trials and the machine are
            continue
        assert getattr(execution, field.name) != field.default, field.name
    assert make_execution(Options(rematerialise=True), "cpu", 1, ()).strategy == "threaded"


def test_every_cuda_device_gets_a_trial(registry, monkeypatch):
    monkeypatch.setattr(execution, "usable_device", lambda options: options.device)
    monkeypatch.setattr(execution, "device_count", lambda: 4)
    planned, jobs = execution.plan_execution(Options(device="cuda"), 9, registry)
    assert jobs == 4
    assert [placed(planned, place).device for place in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0"]
    alone, jobs = execution.plan_execution(Options(device="cuda:1", jobs=3), 9, registry)
    assert (jobs, placed(alone, 2)) == (3, alone)


def test_where_trials_wait_for_others_the_cores_are_theirs_that_train(registry, monkeypatch):
    monkeypatch.setattr(execution.os, "sched_getaffinity", lambda process: range(8), raising=False)
    asked = Options(device="cpu"), Options(device="cpu", jobs=2)
    planned = [execution.plan_execution(options, 3, registry, training=1) for options in asked]
    assert [(jobs, how.threads) for how, jobs in planned] == [(1, 8), (2, 4)]
    how, jobs = execution.plan_execution(asked[0], 3, registry)
    assert (jobs, how.threads) == (3, 2)


@pytest.mark.parametrize("name", ["vectorised", "threaded"])
@pytest.mark.parametrize("switch", [False, True])
def test_verify_computes_a_trial_as_its_record_says(name, switch):
    budget = Budget(updates=1, meta_batch_size=1, validations=0, test_tasks=2, test_steps=1)
    trial = Trial(
        algorithm="reptile", algorithm_parameters={}, suite="sinusoid", suite_parameters={}, seed=0, budget=budget
    )
    again = switch and name == "threaded"
    execution = Execution(strategy=name, rematerialise=again, plain_layers=again, deterministic=switch, threads=2)
    outcome = run_trial(trial, execution, lambda progress: None)
    assert outcome.record.status == "ok", outcome.record.reason
    assert recorded_execution(outcome.record, Options(), ()) == execution


def test_what_decides_how_a_trial_is_computed_is_an_option_wherever_one_is():
    deciding = {*Execution.__struct_fields__, "checkpoint_every"}
    shared = [row for row in rows() if row.name in deciding]
    assert {row.name for row in shared} == {*ASKED, "device"}
    kept = {"keep_state", "keep_training_state"}  # of candidates nothing is
    for row in shared:
        assert {"run", "worker", *(() if row.name in kept else ("tune",))} <= set(row.option.commands.split())


def test_a_worker_computes_its_trial_as_asked(here, tmp_path, monkeypatch):
    trial = Trial(algorithm="reptile", algorithm_parameters={}, suite="sinusoid", suite_parameters={}, seed=0)
    (tmp_path / "trial.json").write_bytes(msgspec.json.encode(trial))
    executions = []

    def record_execution(trial, execution, report, *, keeper, stopping):
        executions.append(execution)
        return Outcome(Record(trial=trial, status="ok"), {})

    monkeypatch.setattr(single_trial, "run_trial", record_execution)
    words = ("--rematerialise", "--plain-layers", "--deterministic", "--checkpoint-every", "7", "--threads", "2")
    assert here("worker", "trial.json", "r/record.json", *words).returncode == 0
    assert executions == [
        Execution(
            strategy="threaded", rematerialise=True, plain_layers=True, deterministic=True,
            checkpoint_seconds=None, checkpoint_updates=7, threads=2, keep_state=True,
        )
    ]  # fmt: skip


def test_an_executor_is_a_row(monkeypatch, tmp_path):
    monkeypatch.setitem(EXECUTORS, "mine", ExecutorRow("builtins:list", "as a list"))
    setup = ExecutorSetup(tmp_path, Execution(), run_trial, 1)
    assert make_executor("mine", setup) == list(setup)
    assert read_options(None, {"executor": "mine"}).executor == "mine"


def test_verify_judges_by_intervals_what_other_kernels_computed():
    made = builders.trial()
    then, now = (builders.outcome(made, {"transductive": [[first, 0.7]]}) for first in (0.5, 0.52))

    def result(bits: str) -> str:
        record = msgspec.structs.replace(then.record, provenance=Provenance(bits=bits))
        again = msgspec.structs.replace(
            now, record=msgspec.structs.replace(now.record, provenance=Provenance(bits="plain layers"))
        )
        return compare(record, then.scores, again).result

    assert result("plain layers") == "differs"
    assert result("blocks") == "close"
