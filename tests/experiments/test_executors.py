"""Trials in processes: each ends as it must, whatever the others do, and nothing outlives the driver."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from metabench.experiments.executors import local
from metabench.experiments.executors.local import Local
from metabench.experiments.executors.queue import Limits, Queue
from metabench.experiments.executors.worker_process import TrialRequest, TrialStarted, WorkerProcess, message_of
from metabench.processes import ChildDiedError, run_in_subprocess
from metabench.records import store
from metabench.records.checkpoints import NAME
from metabench.records.locks import LOCKS, Claim, TrialLocks, running
from metabench.records.record import Progress, StoppedError
from metabench.records.trials import Execution
from tests.builders import outcome, trial
from tests.waiting import HANG, wait_for


def behave(trial, execution, report, *, keeper, stopping):
    """What a worker does with a trial: as its algorithm is called."""
    if trial.algorithm == "compiles":
        time.sleep(600)
    report(Progress(trial.id, "train", 1, 2))
    before = keeper.load()
    if trial.algorithm == "exits":
        os._exit(3)
    if trial.algorithm == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.algorithm == "killed-once" and before is None:
        keeper.save(b"half", 1)
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.algorithm == "advances" and (before is None or len(before) < 6):
        keeper.save(b"x" * (len(before or b"") + 1), len(before or b"") + 1)
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.algorithm == "hangs":
        subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(600)  # for {os.environ['DRIVER']}"])
        time.sleep(600)
    if trial.algorithm == "eats":
        eaten = [bytearray(10_000_000)]
        while True:
            eaten.append(bytearray(os.urandom(1)) * 10_000_000)
            time.sleep(0.01)
    while trial.algorithm == "patient":
        time.sleep(0.01)
        if stopping():
            keeper.save(b"kept", 1)
            raise StoppedError
    return outcome(trial, reason=execution.device if trial.algorithm == "placed" else (before or b"").decode())


def run(folder, *trials, jobs=2, limits=None, stopping=lambda told: False, shared=True, claims=None):
    """The outcomes by algorithm, and what the driver was told on the way; `stopping` is asked with that."""
    told = []
    executor = Local(lambda t: TrialRequest(t, Execution(), folder / t.id if shared else None), behave, jobs)
    queue = Queue(trials, claims or TrialLocks(folder), limits or Limits())
    outcomes = {
        outcome.record.trial.algorithm: outcome.record
        for outcome in executor.run(queue, told.append, lambda: stopping(told))
    }
    return outcomes, told


def test_a_trial_that_dies_takes_no_other_with_it(tmp_path):
    names = ("exits", "good", "killed", "killed-once", "fine")
    outcomes, told = run(tmp_path, *map(trial, names))
    assert {name: record.status for name, record in outcomes.items()} == {
        "exits": "lost", "good": "ok", "killed": "lost", "killed-once": "ok", "fine": "ok",
    }  # fmt: skip
    assert outcomes["exits"].reason == "its process ended by itself with exit code 3, 3 times at the same place"
    assert outcomes["killed"].reason.startswith("its process was killed by SIGKILL")
    assert outcomes["killed-once"].reason == "half"
    assert {sign.trial_id for sign in told} == {trial(name).id for name in names}


def test_workers_share_out_the_devices(tmp_path):
    execution = Execution(device="cuda", devices=2)
    executor = Local(lambda t: TrialRequest(t, execution, tmp_path / t.id), behave, 2)
    queue = Queue([trial("placed", seed=seed) for seed in range(2)], TrialLocks(tmp_path), Limits())
    found = [outcome.record.reason for outcome in executor.run(queue, lambda sign: None, lambda: False)]
    assert sorted(found) == ["cuda:0", "cuda:1"]


def test_a_trial_waits_for_the_end_of_that_whose_training_it_takes(tmp_path):
    first, second, other = map(trial, ("first", "second", "other"))
    queue = Queue([second, first, other], TrialLocks(tmp_path), Limits(), {second.id: first.id})
    assert [queue.take(), queue.take(), queue.take()] == [first, other, None]
    queue.on_end(other)
    assert queue.take() is None
    assert queue
    queue.on_end(first)
    assert queue.take() == second
    assert not queue


def test_nor_does_it_wait_longer_than_another_driver_takes_for_it(tmp_path):
    first, second = map(trial, ("first", "second"))
    store.write(tmp_path, outcome(first))
    queue = Queue([second, first], TrialLocks(tmp_path), Limits(), {second.id: first.id})
    assert queue.take() == second  # the first has a record, as is found now


def test_a_trial_that_gets_further_each_time_is_not_given_up(tmp_path):
    outcomes, _ = run(tmp_path, trial("advances"))
    assert outcomes["advances"].reason == "xxxxxx"


def test_without_a_shared_folder_checkpoints_come_to_the_driver(tmp_path):
    _, told = run(tmp_path, trial("killed-once"), shared=False, limits=Limits(max_deaths=2))
    assert [message.content for message in told if not isinstance(message, Progress)] == [b"half", b"half"]
    assert not (tmp_path / trial("killed-once").id).exists()


@pytest.mark.slow
def test_limits_end_a_trial_and_all_that_it_began(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVER", str(os.getpid()))  # a child has the environment of now
    outcomes, _ = run(tmp_path, trial("hangs"), trial("good"), limits=Limits(seconds=5.0))
    assert (outcomes["hangs"].status, outcomes["good"].status) == ("timeout", "ok")
    assert outcomes["hangs"].reason == "it took more than 5 s (--trial-timeout)"
    mine = f"time.sleep(600)  # for {os.getpid()}"
    assert not [process for process in psutil.process_iter(["cmdline"]) if mine in str(process.info["cmdline"])]
    outcomes, _ = run(tmp_path, trial("eats"), limits=Limits(memory=300_000_000))
    assert outcomes["eats"].status == "error"
    assert "more than 300 MB (--memory-limit)" in outcomes["eats"].reason


def test_asked_to_stop_trials_are_checkpointed_and_left(tmp_path):
    outcomes, _ = run(
        tmp_path, trial("patient"), trial("patient", seed=1), trial("good"),
        stopping=lambda told: len({progress.trial_id for progress in told if isinstance(progress, Progress)}) == 2,
    )  # fmt: skip
    assert outcomes == {}
    assert len(list(tmp_path.glob("*/" + NAME))) == 2


def test_asked_to_stop_a_trial_that_only_prepares_is_ended_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "CHECKPOINT_TIMEOUT_S", HANG)
    began, rounds = time.monotonic(), itertools.count()
    outcomes, _ = run(tmp_path, trial("compiles"), stopping=lambda told: next(rounds) > 3)
    assert outcomes == {}
    assert time.monotonic() - began < HANG


def test_the_time_of_a_trial_begins_when_its_process_is_ready(tmp_path):
    worker = WorkerProcess(behave)
    try:
        worker.start(TrialRequest(trial("compiles"), Execution(), tmp_path))
        assert worker.exceeded_limit(0.0, None) == "", "its process has not started"
        assert isinstance(message_of(worker.connection), TrialStarted)
    finally:
        worker.kill()


def test_an_outcome_that_is_there_already_is_read_before_a_limit_is_enforced(tmp_path):
    executor = Local(lambda t: TrialRequest(t, Execution(), tmp_path / t.id), behave, 1)
    queue = Queue([trial("good")], TrialLocks(tmp_path), Limits(seconds=0.0))
    worker = WorkerProcess(behave)
    executor.workers.append(worker)
    worker.start(executor.request_of(queue.take()))
    wait_for(worker.connection.poll)
    worker.started = 0.0
    assert worker.exceeded_limit(0.0, None)
    assert list(executor.enforce(worker, queue, None)) == []
    while worker.trial and worker.connection.poll(HANG):
        found = list(executor.receive(worker, queue, lambda sign: None))
    worker.kill()
    assert [outcome.record.status for outcome in found] == ["ok"]


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    code = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from tests.builders import trial
        from tests.experiments.test_executors import run
        run(Path({str(tmp_path)!r}), trial("hangs"), trial("patient"))
    """
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(code), encoding="utf-8")
    driver = psutil.Popen([sys.executable, str(script)])
    below = wait_for(lambda: len(found := driver.children(recursive=True)) >= 4 and found)  # with the server
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(below, timeout=HANG)
    assert not alive


def test_a_trial_belongs_to_one_driver(tmp_path):
    one, other = TrialLocks(tmp_path), TrialLocks(tmp_path)
    assert one.claim(trial("good")) is Claim.ACQUIRED
    assert other.claim(trial("good")) is Claim.BUSY
    assert other.claim(trial("fine")) is Claim.ACQUIRED
    assert running(tmp_path) == {trial("good").id, trial("fine").id}
    store.write(tmp_path, outcome(trial("good")))
    one.release(trial("good"))
    assert other.claim(trial("good")) is Claim.DONE
    assert TrialLocks(tmp_path, retry_failed=True).claim(trial("good")) is Claim.DONE
    other.release_all()
    assert not (tmp_path / LOCKS).exists()


def test_a_trial_that_another_driver_has_is_waited_for(tmp_path):
    class Busy(TrialLocks):
        looks = 0

        def claim(self, trial):
            self.looks += trial.algorithm == "fine"
            return Claim.BUSY if trial.algorithm == "fine" and self.looks < 3 else super().claim(trial)

    outcomes, _ = run(tmp_path, trial("fine"), trial("good"), claims=Busy(tmp_path))
    assert list(outcomes) == ["good", "fine"]


def test_a_claim_clears_up_after_a_writer_that_was_killed(tmp_path):
    folder = tmp_path / trial("good").id
    folder.mkdir()
    (folder / ".metabench-abc").write_text("half", encoding="utf-8")
    (folder / "mine.txt").write_text("the user's own", encoding="utf-8")
    TrialLocks(tmp_path).claim(trial("good"))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def refuse(what):
    raise ValueError(what)


def die():
    os._exit(1)


def test_a_call_in_another_process():
    assert run_in_subprocess(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="this"):
        run_in_subprocess(refuse, "this")
    with pytest.raises(ChildDiedError):
        run_in_subprocess(die)
