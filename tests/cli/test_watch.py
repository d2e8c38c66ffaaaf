"""A run while it runs: the table so far, and the folder from another terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metabench.cli.live_scores import LiveScores
from metabench.cli.progress import RunView
from metabench.cli.terminal import live
from metabench.cli.watch import look, watch
from metabench.records import requests, store
from metabench.records.locks import TrialLocks
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Budget, Trial
from tests import builders


def trial(seed: int) -> Trial:
    return builders.trial(seed=seed, budget=Budget(updates=10))


def outcome(seed: int, status: str = "ok", score: float = 0.5) -> Outcome:
    if status != "ok":
        return builders.failure(trial(seed), status)
    return builders.outcome(trial(seed), {"transductive": [[score - 0.1, score + 0.1]]})


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=140, height=40)


def text(console: Console, content) -> str:
    with console.capture() as seen:
        console.print(content)
    return seen.get()


def test_the_scores_so_far():
    sofar = LiveScores(map(trial, range(4)))
    for score in (0.2, 0.4, 0.8):
        sofar.on_progress(Progress(trial(2).id, "train", 1, 10, score=score))
    sofar.on_progress(Progress(trial(2).id, "train", 2, 10, loss=1.0))
    sofar.on_progress(Progress(trial(3).id, "train", 0, 10, score=0.3))
    for each in (outcome(0, score=0.5), outcome(1, "diverged"), outcome(3, score=0.7)):
        sofar.on_record(each.record)
    line = text(Console(width=140), sofar).splitlines()[-1]
    assert "3/4" in line
    assert "accuracy 60.00% (2 seeds); 1 failed" in line
    assert line.rstrip().endswith("▁▃█ 80.00%"), "of those that run, and of no other"


@pytest.mark.parametrize("watching", [False, True])
def test_live_bars_with_the_table_and_without(watching):
    console = terminal()
    trials = tuple(map(trial, range(2)))
    with live(console, RunView(trials, LiveScores(trials) if watching else None)) as (on_progress, on_record):
        on_progress(Progress(trial(0).id, "train", 5, 10, loss=0.25))
        on_progress(Progress(trial(0).id, "train", 5, 10, score=0.4))
        on_record(outcome(0).record)
    seen = console.file.getvalue()
    assert "s a seed 0: accuracy 0.5 ± 0.1, trained 0.0 s" in seen
    assert "all trials" in seen
    assert ("test score so far" in seen) == watching


def test_what_is_in_a_folder(tmp_path):
    requests.record_request(tmp_path, map(trial, range(3)))
    store.write(tmp_path, outcome(0))
    claims = TrialLocks(tmp_path)
    claims.claim(trial(1))
    view = look(tmp_path)
    seen = text(Console(width=140), view.content)
    assert "1 ok, 1 running; 1 left of 3" in seen
    assert "running" in seen
    assert "50 ±" in seen
    assert not view.over
    store.write(tmp_path, outcome(1))
    store.write(tmp_path, outcome(2, "error"))
    assert not look(tmp_path).over, "somebody still has a trial"
    claims.release_all()
    assert look(tmp_path).over


def test_watching_ends_with_the_run_and_writes_the_page_on_the_way(tmp_path):
    root, page = tmp_path / "r", tmp_path / "page"
    store.ensure_writable(root)
    requests.record_request(root, map(trial, range(2)))
    waited, pages = [], []

    def sleep(seconds: float) -> None:
        """Meanwhile the run goes on."""
        index = page / "index.html"
        pages.append(index.read_text(encoding="utf-8") if index.exists() else "")
        store.write(root, outcome(len(waited)))
        waited.append(seconds)

    console = terminal()
    watch(root, console, 3.0, page, sleep)
    assert len(waited) == 2
    assert min(waited) >= 3.0
    assert pages[0] == "", "nothing has ended yet"
    assert '<meta http-equiv="refresh" content="3">' in pages[1]
    assert 'http-equiv="refresh"' not in (page / "index.html").read_text(encoding="utf-8"), (
        "the last one stays as it is"
    )
    assert "2 ok; 0 left of 2" in console.file.getvalue()


def test_ctrl_c_ends_watching_and_nothing_else(tmp_path):
    requests.record_request(tmp_path, [trial(0)])

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    watch(tmp_path, terminal(), 1.0, sleep=sleep)


def test_a_log_gets_one_look(here, tmp_path):
    requests.record_request(tmp_path / "r", [trial(0), trial(1)])
    store.write(tmp_path / "r", outcome(0))
    seen = here("watch", "r")
    assert not seen.returncode, seen.stderr
    assert seen.stdout.startswith("r: 1 ok; 1 left of 2")
    assert here("watch", "none").stderr.startswith("metabench: There is no results folder 'none'.")
