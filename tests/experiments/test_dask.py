"""Dask: real schedulers and workers over loopback, one of them killed, and the records of an undisturbed run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from metabench.errors import UserError
from metabench.experiments.execution import run_trial
from metabench.experiments.executors import dask_cluster, dask_worker
from metabench.experiments.executors.dask import Dask
from metabench.experiments.executors.dask_cluster import WorkerPool, token_in
from metabench.experiments.executors.registry import ExecutorSetup
from metabench.experiments.experiment import Experiment, experiment
from metabench.experiments.options import Options
from metabench.records import store
from metabench.records.checkpoints import header_of
from metabench.records.record import Record
from metabench.records.trials import Execution
from tests.waiting import HANG, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one cluster")]

GATED = """
import os, time
from metabench.api import Algorithm, hookimpl, sgd, unroll

def gated(problem, *, gate: str = "", pause: float = 0.0):
    "MAML that waits after 60% of its updates until a file is there."
    inner = sgd(problem, 0.01)

    def objective(meta, task, progress):
        return problem.loss(unroll(inner, meta, task.support, 1), task.query)

    def schedule(progress):
        while progress >= 0.6 and not os.path.exists(gate):
            time.sleep(0.02)
        time.sleep(pause if progress >= 0.6 else 0)
        return 1.0

    return Algorithm(problem.init, inner, objective, schedule=schedule)

@hookimpl
def register_algorithms():
    return {"gated": gated}
"""


class Machines:
    """A scheduler and its workers, each a command as a user would start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file)
        wait_for(self.file.exists)
        self.client = Client(scheduler_file=str(self.file), set_as_default=False)
        self.address = self.client.scheduler.address

    def start(self, kind: str, *words: Any) -> None:
        """`dask scheduler` or `dask worker`."""
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, words)]
        with open(self.folder / "log", "ab") as log:
            self.processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))

    def add(self, count: int) -> None:
        """Workers with one thread each, and otherwise default settings."""
        place = ("--host", "127.0.0.1", "--local-directory", self.folder)
        for _ in range(count):
            self.start("worker", self.address, *place, "--nthreads", 1, "--no-dashboard")

    def running(self, trial_id: str) -> str:
        """The address of the worker that has a trial."""
        tasks = self.client.processing().items()
        return next((address for address, keys in tasks if any(trial_id in str(key) for key in keys)), "")

    def kill(self, address: str) -> list[psutil.Process]:
        """End a worker as a power cut would: its nanny and it; the processes that were its children."""
        worker = psutil.Process(self.client.run(os.getpid, workers=[address])[address])
        children = worker.children(recursive=True)
        worker.parent().kill()
        worker.kill()
        return children

    def end(self) -> None:
        """All of it."""
        self.client.close()
        for process in self.processes:
            if process.poll() is None:
                ended = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for each in ended:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
                process.wait()


@pytest.fixture(scope="module")
def machines(tmp_path_factory) -> Iterator[Machines]:
    """A scheduler and three workers."""
    found = Machines(tmp_path_factory.mktemp("machines"))
    try:
        found.add(3)
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the plugin."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "gated.py").write_text(GATED, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def calm(place) -> dict[str, tuple[Record, bytes]]:
    """What six trials give on this machine when nobody disturbs them: records and scores.json by id."""
    (place / "gate").touch()
    found = planned(place, place / "calm")
    assert [outcome.record.status for outcome in found.outcomes()] == ["ok"] * 6
    return results(place / "calm")


def planned(place: Path, out: Path, pause: float = 0.0, **more: Any) -> Experiment:
    """Three seeds of `gated` and of `maml`."""
    options = {
        "algos": ("gated", "maml"), "suites": ("sinusoid",), "seeds": 3, "updates": 100, "meta_batch_size": 4,
        "validations": 3, "validation_tasks": 10, "test_tasks": 20, "test_steps": 2, "strategy": "vectorised",
        "device": "cpu", "deterministic": True, "checkpoint_every": "20", "plugins": (str(place / "gated.py"),),
        "set": {"gated": {"gate": str(place / "gate"), "pause": pause}}, "out": str(out),
    }  # fmt: skip
    return experiment(Options(**options | more))


def results(out: Path) -> dict[str, tuple[Record, bytes]]:
    """Records and scores.json by id."""
    return {record.trial.id: (record, store.read_scores(out, record)) for record in store.records(out)}


def meaning(record: Record) -> tuple[Any, ...]:
    """What of a record is the same however it was come by."""
    curve = [(point.update, point.train_loss, point.score, point.ci95) for point in record.curve]
    return record.status, record.reason, record.selection, record.selected_update, curve, record.tests


def alike(one: dict[str, tuple[Record, bytes]], other: dict[str, tuple[Record, bytes]]) -> bool:
    """Whether the trials of `one` came out as in `other`, to the last bit."""
    return all(
        (meaning(record), scores) == (meaning(other[name][0]), other[name][1])
        for name, (record, scores) in one.items()
    )


@contextmanager
def meanwhile(gate: Path, work: Callable[[], Any]) -> Iterator[None]:
    """Do something in a thread; whatever comes of it, the gate is open in the end."""

    def run() -> None:
        try:
            work()
        finally:
            gate.touch()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        yield
        done.result()


@pytest.mark.parametrize(("shared", "algos", "seeds"), [(True, ("gated", "maml"), 3), (False, ("gated",), 1)])
def test_a_worker_is_lost_and_nothing_else(machines, place, calm, monkeypatch, tmp_path, shared, algos, seeds):
    (place / "gate").unlink(missing_ok=True)
    (place / "gated.py").write_text(GATED, encoding="utf-8")
    if not shared:
        monkeypatch.setattr(dask_cluster, "sees", lambda path, content: False)
    found = planned(place, tmp_path, algos=algos, seeds=seeds, executor="dask", scheduler=machines.address)
    victim = next(trial.id for trial in found.trials if trial.algorithm == "gated")

    def sabotage() -> None:
        wait_for(lambda: (header := header_of(tmp_path / victim)) and header.update == 60)
        (place / "gated.py").unlink()  # the workers have had its content
        children = machines.kill(machines.running(victim))
        _, alive = psutil.wait_procs(children, timeout=HANG)
        assert children
        assert alive == []
        machines.add(1)

    with meanwhile(place / "gate", sabotage):
        outcomes = list(found.outcomes())
    assert len(outcomes) == len(found.trials)
    assert alike(results(tmp_path), calm)
    assert store.record_of(tmp_path, victim).provenance.resumed[0] == 60  # on a busy machine it may move once more
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(trial.id for trial in found.trials), "plans", ".gitignore"]
    )


def test_asked_to_stop_trials_are_checkpointed(machines, place, tmp_path):
    (place / "gate").unlink(missing_ok=True)
    (place / "gated.py").write_text(GATED, encoding="utf-8")
    found = planned(
        place, tmp_path, pause=0.2, algos=("gated",), seeds=1, executor="dask", scheduler=machines.address
    )
    (trial,) = found.trials
    stop = threading.Event()

    def ask() -> None:
        wait_for(lambda: (header := header_of(tmp_path / trial.id)) and header.update == 60)
        stop.set()
        wait_for(lambda: not machines.running(trial.id))

    with meanwhile(place / "gate", ask):
        assert list(found.outcomes(stopping=stop.is_set)) == []
    header = header_of(tmp_path / trial.id)
    assert header
    assert header.update > 60
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([trial.id, "plans"])


def test_limits_hold_on_a_cluster_of_our_own(place, tmp_path):
    (place / "gate").unlink(missing_ok=True)
    (place / "gated.py").write_text(GATED, encoding="utf-8")
    found = planned(place, tmp_path, algos=("gated",), seeds=1, executor="dask", trial_timeout="2s")
    (outcome,) = found.outcomes()
    assert outcome.record.status == "timeout"
    assert outcome.record.reason == "it took more than 2 s (--trial-timeout)"


def test_a_worker_with_other_versions_is_refused(machines, tmp_path, monkeypatch, caplog):
    real = dask_cluster.version_of
    monkeypatch.setattr(dask_cluster, "version_of", lambda name: "1.0" if name == "torch" else real(name))
    wait_for(lambda: len(machines.client.nthreads()) >= 1)
    complaint = (
        rf"^The Dask worker tcp://127\.0\.0\.1:\d+ has torch {re.escape(real('torch'))}, the driver has 1\.0\."
    )
    with token_in(tmp_path) as token:
        with pytest.raises(UserError, match=rf"{complaint} Install the same on both\.$"):
            WorkerPool(machines.client, token, cuda=False).refresh(begun=False)
        late = WorkerPool(machines.client, token, cuda=False)
        late.refresh(begun=True)
        assert late.members == {}
        assert late.refused == set(machines.client.nthreads())
        assert re.match(rf"{complaint} It is given no trial\.$", caplog.messages[0])


def test_a_scheduler_with_another_metabench_is_refused(machines, monkeypatch):
    monkeypatch.setattr(dask_cluster, "version_of", lambda name: "2.0")
    with pytest.raises(UserError, match=r"^The Dask scheduler tcp://HOST has metabench \S+, the driver has 2\.0\."):
        dask_cluster.refuse_other_scheduler(machines.client, "tcp://HOST")


def test_nobody_answers(place, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_S", 1.0)
    found = Dask(ExecutorSetup(tmp_path, Execution(), run_trial, 1, "tcp://127.0.0.1:9"))
    with pytest.raises(UserError, match=r"^No Dask scheduler answers at 'tcp://127\.0\.0\.1:9' \("):
        next(found.run(None, print, lambda: False))
    assert list(tmp_path.iterdir()) == []


def test_the_token_shows_who_shares_the_folder(tmp_path):
    with token_in(tmp_path) as token:
        assert dask_worker.sees(token, token.name)
        assert not dask_worker.sees(token, "another")
        assert not dask_worker.sees(tmp_path / "missing", token.name)
    assert list(tmp_path.iterdir()) == []


def test_dask_needs_no_torch_in_the_driver():
    code = "import sys, metabench.experiments.executors.dask; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_dask_the_remedy_is_said():
    code = """
import sys
sys.modules["distributed"] = None
from metabench.errors import UserError

try:
    import metabench.experiments.executors.dask
except UserError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert result.stdout == "--executor dask needs Dask: pip install 'metabench[dask]'.\n", result.stderr
