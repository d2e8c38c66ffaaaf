"""status, clean, verify, worker, and several drivers at once: what a user of a long experiment types."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from metabench.errors import UserError
from metabench.records import requests, store
from metabench.records.checkpoints import FolderCheckpointStore, Header, sealed
from metabench.records.folder import clean, folder_status
from metabench.records.locks import TrialLocks
from metabench.records.record import Outcome
from metabench.records.trials import Budget
from tests import builders
from tests.waiting import HANG, wait_for

TINY = "--updates 60 --validations 2 --validation-tasks 6 --test-tasks 12 --test-steps 1".split()
METABENCH = [sys.executable, "-c", "from metabench.cli.main import main; main()"]


def trial(seed):
    return builders.trial(seed=seed, budget=Budget(updates=10))


def outcome(seed, status="ok", seconds=8.0):
    reason = "" if status == "ok" else "a reason"
    return Outcome(builders.record(trial(seed), status, reason=reason, train_seconds=seconds), {})


@pytest.fixture
def folder(tmp_path):
    """Five trials: done, done, failed, half done, not begun; and something of the user's."""
    requests.record_request(tmp_path, map(trial, range(5)))
    for seed, status in ((0, "ok"), (1, "diverged"), (2, "error")):
        store.write(tmp_path, outcome(seed, status))
    header = Header(trial=trial(3).id, code={}, update=5, updates=10, seconds=6.0)
    FolderCheckpointStore(tmp_path / trial(3).id).save(sealed(header, b"state"), 5)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("the user's own", encoding="utf-8")
    (tmp_path / trial(0).id / "mine.txt").write_text("the user's own", encoding="utf-8")
    return tmp_path


def tree(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_status_counts_and_estimates(folder):
    found = folder_status(folder)
    assert (found.planned, found.left) == (5, 2)
    assert found.counts == {"ok": 1, "diverged": 1, "error": 1}
    assert found.failures == [f"{trial(seed).id}: {word}, a reason" for seed, word in ((1, "diverged"), (2, "error"))]
    assert found.running == [(trial(3).id, "interrupted", "5/10", "6 s")]
    assert found.seconds == pytest.approx(6.0 + 8.0)  # half of 12 s, and one like the others
    claims = TrialLocks(folder)
    claims.claim(trial(3))
    again = folder_status(folder)
    assert (again.counts["running"], again.left, again.running[0][1]) == (1, 1, "running")


@pytest.mark.parametrize(
    ("file", "reason"),
    [("scores.json", "its scores are not what was written"), ("record.json", "it is cut short")],
)
def test_a_trial_that_is_damaged_is_counted_as_that_and_told_in_our_words(folder, here, file, reason):
    path = folder / trial(0).id / file
    path.write_bytes(path.read_bytes()[: -1 if file == "scores.json" else -30])
    found = folder_status(folder)
    assert found.counts == {"diverged": 1, "error": 1, "damaged": 1}
    assert (found.planned, found.left) == (5, 3)
    assert f"{trial(0).id}: damaged, {reason}; the same command runs it again" in found.failures
    for command in (("status", str(folder)), ("report", str(folder), "--out", "page", "--formats", "svg")):
        shown = here(*command)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert reason in shown.stdout
    assert f"{trial(0).id} ({reason})" in (folder / "page" / "report.md").read_text("utf-8")


def test_clean_removes_what_is_named_and_nothing_else(folder):
    before = tree(folder)
    with pytest.raises(UserError, match="Say what to remove"):
        clean(folder, failed=False, checkpoints=False, damaged=False, trials=[], dry=False)
    for name in ("nope", "..", "notes", "plans", "../" + folder.name):
        with pytest.raises(UserError, match="There is no trial"):
            clean(folder, failed=True, checkpoints=True, damaged=True, trials=[name], dry=False)
    assert len(clean(folder, failed=True, checkpoints=True, damaged=True, trials=[], dry=True)) == 3
    assert tree(folder) == before
    clean(folder, failed=True, checkpoints=False, damaged=False, trials=[], dry=False)
    gone = {f"{trial(2).id}/{name}" for name in ("record.json", "scores.json")}
    assert tree(folder) == before - gone
    clean(folder, failed=False, checkpoints=True, damaged=False, trials=[], dry=False)
    gone |= {f"{trial(3).id}/checkpoint.pt"}
    assert tree(folder) == before - gone
    clean(folder, failed=False, checkpoints=False, damaged=False, trials=[trial(0).id], dry=False)
    gone |= {f"{trial(0).id}/{name}" for name in ("record.json", "scores.json")}
    assert tree(folder) == before - gone
    assert not (folder / trial(2).id).exists()


def test_clean_leaves_a_running_trial_alone(folder):
    claims = TrialLocks(folder)
    claims.claim(trial(3))
    before = tree(folder)
    with pytest.raises(UserError, match="is running; stop it first"):
        clean(folder, failed=True, checkpoints=True, damaged=False, trials=[], dry=False)
    assert tree(folder) == before


@pytest.mark.slow
def test_two_commands_at_once_run_every_trial_once(tmp_path):
    words = ["--algos", "maml,scratch", "--suites", "sinusoid", "--seeds", "3", *TINY, "--jobs", "1", "--out", "r"]
    both = [
        subprocess.Popen([*METABENCH, "run", *words], cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=HANG)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert sum(text.count("sinusoid maml seed") + text.count("sinusoid scratch seed") for text in texts) == 6
    assert len(list(store.records(tmp_path / "r"))) == 6
    assert {path.name for path in (tmp_path / "r").iterdir() if not path.name.startswith("sinusoid")} == {
        "plans",
        ".gitignore",
    }


@pytest.mark.slow
def test_a_worker_goes_on_where_it_was_stopped_and_verify_finds_the_same(here, tmp_path):
    words = ["--algos", "maml", "--suites", "sinusoid", "--seeds", "1", "--updates", "500", *TINY[2:]]
    assert here("run", *words, "--out", "r", "--dry-run", "--write-trials", "trials").returncode == 0
    (path,) = (tmp_path / "trials").iterdir()
    place = Path("r") / path.stem / "record.json"
    worker = ["worker", str(path), str(place), "--checkpoint-every", "50", "--strategy", "vectorised"]
    process = subprocess.Popen([*METABENCH, *worker], cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8")
    checkpoint = tmp_path / place.parent / "checkpoint.pt"
    wait_for(lambda: checkpoint.exists() or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=HANG)
    assert process.returncode == 128 + signal.SIGTERM, text
    assert text == "Stopped; the same command goes on from its checkpoint.\n"
    status = here("status", "r").stdout
    assert "0 ok" not in status
    assert "interrupted" in status or not (tmp_path / "r" / "plans").exists()
    done = here(*worker)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / place).read_text(encoding="utf-8"))
    assert record["provenance"]["resumed"][0] >= 50
    assert not checkpoint.exists()
    assert here(*worker).stdout == f"'{place}' is there already.\n"
    verified = here("verify", "r")
    assert verified.returncode == 0, verified.stdout
    assert "same" in verified.stdout


SLOW = """
import time
from pathlib import Path
from metabench.api import hookimpl

def slow(problem, *, inner_lr: float = 0.1):
    if Path("trials").exists():  # a dry run tries it too
        Path("prepares").touch()
        time.sleep(600)

@hookimpl
def register_algorithms():
    return {"slow": slow}
"""


@pytest.mark.slow
def test_a_worker_that_only_prepares_is_stopped_at_once(here, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    words = ["--algos", "slow", "--suites", "sinusoid", "--seeds", "1", "--plugin", "slow.py"]
    assert here("run", *words, "--out", "r", "--dry-run", "--write-trials", "trials").returncode == 0
    (path,) = (tmp_path / "trials").iterdir()
    command = [*METABENCH, "worker", str(path), "r/record.json", "--plugin", "slow.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8")
    wait_for(lambda: (tmp_path / "prepares").exists() or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=HANG)
    assert (process.returncode, text) == (
        128 + signal.SIGTERM,
        "Stopped; the same command goes on from its checkpoint.\n",
    )


@pytest.mark.slow
def test_verify_sees_a_record_that_is_not_what_the_trial_gives(here, tmp_path):
    words = ["--algos", "scratch", "--suites", "sinusoid", "--seeds", "1", *TINY, "--out", "r", "--jobs", "1"]
    assert here("run", *words, "--deterministic").returncode == 0
    (record,) = store.records(tmp_path / "r")
    assert record.provenance.deterministic is True
    scores = store.scores(tmp_path / "r", record)
    scores["inductive"]["mse"][0][0] += 0.25
    store.write(tmp_path / "r", Outcome(msgspec.structs.replace(record), scores))
    found = here("verify", "r")
    assert found.returncode == 1
    assert "scores by up to 0.25" in found.stdout


@pytest.mark.slow
def test_damaged_records_run_again_and_failed_ones_when_asked(here, tmp_path):
    words = [
        "run",
        "--algos",
        "maml,scratch",
        "--suites",
        "sinusoid",
        "--seeds",
        "1",
        *TINY,
        "--out",
        "r",
        "--jobs",
        "1",
    ]
    assert here(*words).returncode == 0
    one, other = sorted((tmp_path / "r").glob("*/record.json"))
    whole = one.with_name("scores.json").read_bytes()
    one.with_name("scores.json").write_bytes(whole[:-20])
    failed = msgspec.structs.replace(store.decode(other.read_bytes(), other), status="error", reason="once")
    store.write(tmp_path / "r", Outcome(failed, {}))
    again = here(*words)
    assert again.returncode == 1
    assert f"The record of {one.parent.name} cannot be used (its scores are not what was written)" in again.stdout
    assert "1 trial to run, 1 finished before" in again.stdout
    assert one.with_name("scores.json").read_bytes() == whole
    assert here(*words, "--retry-failed").returncode == 0
    assert "1 files would be removed" in here("clean", "r", "--damaged", "--dry-run").stdout


@pytest.mark.slow
def test_fail_fast_leaves_the_rest(here, tmp_path):
    (tmp_path / "bad.py").write_text(
        "from metabench.api import hookimpl\n"
        "def bad(problem):\n    '''Bad.'''\n    raise RuntimeError('boom')\n"
        "@hookimpl\ndef register_algorithms():\n    return {'bad': bad}\n",
        encoding="utf-8",
    )
    words = ["run", "--algos", "bad,scratch", "--suites", "sinusoid", "--seeds", "4", *TINY, "--plugin", "bad.py"]
    found = here(*words, "--jobs", "1", "--fail-fast", "--out", "r")
    assert found.returncode == 1
    assert len(list(store.records(tmp_path / "r"))) == 1
    assert "7 trials not run; the same command goes on." in found.stdout


def test_a_read_only_folder_is_one_line(here, tmp_path):
    words = ["run", "--algos", "scratch", "--suites", "sinusoid", "--seeds", "1", *TINY, "--out", "r", "--jobs", "1"]
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "plans").write_text("in the way", encoding="utf-8")
    found = here(*words)
    assert found.returncode == 2
    assert found.stderr.startswith("metabench: Cannot write to 'r': ")
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.slow
def test_bits_do_not_depend_on_order_jobs_or_executor(here, tmp_path):
    base = ["run", "--suites", "sinusoid", "--seeds", "2", *TINY, "--deterministic"]
    assert here(*base, "--algos", "maml,l2l-maml", "--out", "one", "--jobs", "2").returncode == 0
    assert here(*base, "--algos", "l2l-maml,maml", "--out", "two", "--jobs", "1").returncode == 0
    names = [path.parent.name for path in (tmp_path / "one").glob("*/scores.json")]
    assert len(names) == 4
    for name in names:
        contents = {(tmp_path / root / name / "scores.json").read_bytes() for root in ("one", "two")}
        assert len(contents) == 1, name
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") is None
