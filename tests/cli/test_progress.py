"""What a run shows: something from its first second, columns that fit, time by updates, units, and the end."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from metabench.cli.notebook import in_notebook, shown_progress
from metabench.cli.progress import RunView, clock, names_of
from metabench.cli.tables import best_lines, results_table
from metabench.records import store
from metabench.records.record import Progress
from metabench.records.trials import Budget
from metabench.report.analysis.summary import summary_table
from tests import builders

BUDGET = Budget(updates=1000, test_tasks=600)


def trial(seed: int, **parameters):
    return builders.trial("a", "s", seed, budget=BUDGET, algorithm_parameters=parameters)


def lines(view: RunView, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def test_it_says_what_happens_from_the_first_second_with_units():
    view = RunView([trial(0), trial(1)], jobs=2)
    assert "starting 2 workers" in lines(view)[0]
    assert "0 of 0 trials" in lines(RunView([]))[0], "nobody is started for none"
    for phase, done, total, says in (
        ("preparing data", 0, 1, "preparing data"),
        ("measuring strategies", 0, 1, "measuring strategies"),
        ("train", 300, 1000, "300 of 1,000 updates"),
        ("test", 1, 12, "50 of 600 tasks"),
    ):
        view.on_progress(Progress(trial(0).id, phase, done, total, loss=0.25 if phase == "train" else None))
        assert says in lines(view)[1]
    assert "loss 0.25" in lines(view)[1]
    assert "0 of 2 trials" in lines(view)[0]
    assert view.on_record(builders.record(trial(0))).startswith("[1/2] s a seed 0: ")
    assert len(lines(view)) == 1
    view.on_progress(Progress(trial(0).id, "test", 12, 12))  # late, from another thread
    view.on_progress(Progress("somebody else's", "train", 1, 2))
    assert len(lines(view)) == 1


@pytest.mark.parametrize("width", [60, 80, 140])
def test_columns_stay_where_they_are(width):
    trials = [trial(seed, inner_lr=10.0**-seed, name="n" * 40) for seed in range(3)]
    view = RunView(trials)
    places = set()
    for done in (0, 9, 1000):
        for each in trials:
            view.on_progress(Progress(each.id, "train", done, 1000, loss=1.0 / (done + 1)))
        shown = lines(view, width)
        assert all(len(line) <= width for line in shown)
        places |= {line.index(f"{done:,} of 1,000") for line in shown[1:]}
        assert width < 80 or all("seed" in line for line in shown[1:])
    assert len(places) == 1


def test_what_is_left_is_told_by_updates_and_not_by_trials():
    now = [0.0]
    view = RunView([trial(0), trial(1)], clock=lambda: now[0])
    now[0] = 90.0
    view.on_progress(Progress(trial(0).id, "train", 1000, 1000))
    assert view.fraction() == pytest.approx(0.45)
    assert "1:30, 1:50 left" in lines(view)[0]
    view.on_record(builders.record(trial(0)))
    view.on_record(builders.record(trial(1)))
    assert lines(view)[0].rstrip().endswith("1:30")
    assert (clock(5), clock(3723)) == ("0:05", "1:02:03")


def test_trials_of_a_sweep_are_told_apart():
    assert set(names_of([trial(0, inner_lr=0.1), trial(0, inner_lr=0.2)]).values()) == {
        "s a seed 0 (inner_lr=0.1)", "s a seed 0 (inner_lr=0.2)"
    }  # fmt: skip


def test_a_narrow_table_keeps_what_matters(tmp_path):
    for name, level in (("a long name (inner_lr=0.01)", 0.1), ("other", 0.9)):
        for seed in range(3):
            of = builders.trial(name.split()[0], "s", seed, algorithm_parameters={"label": name})
            cells = [[level + 0.01 * seed + 0.02 * task for task in range(8)]]
            store.write(tmp_path, builders.outcome(of, {"transductive": cells}, "mse", train_seconds=12.0))
    summary = summary_table(store.records(tmp_path), tmp_path)
    table = results_table(summary)
    kept, widths = table.fitting(80)
    assert {"algorithm", "mse ↓", "verdict", "train s ± SD"} <= {table.columns[place] for place in kept}
    assert [row.style for row in table.grid(kept, widths).rows] == ["bold", ""]
    (line,) = best_lines(summary)
    assert line.startswith("Best on s: a, mse ↓ ")


def test_a_notebook_shows_the_same_and_nothing_else_does(monkeypatch):
    pictures = []
    handle = SimpleNamespace(update=lambda picture, raw: pictures.append(picture))

    def display(picture, raw, display_id):
        pictures.append(picture)
        return handle

    with shown_progress([trial(0)], 1) as (on_progress, _):
        on_progress(Progress(trial(0).id, "train", 1, 1000))
    assert pictures == []
    shell = SimpleNamespace(get_ipython=lambda: object(), display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert in_notebook()
    with shown_progress([trial(0)], 1) as (on_progress, on_record):
        on_progress(Progress(trial(0).id, "train", 300, 1000))
        on_record(builders.record(trial(0)))
    assert "starting 1 worker" in pictures[0]["text/plain"]
    assert "1 of 1 trial" in pictures[-1]["text/html"]


def test_a_quiet_run_says_nothing_and_json_is_all_there_is(here):
    asked = ("run", "--algos", "scratch", "--suites", "sinusoid", "--seeds", "1", "--test-tasks", "4",
             "--validation-tasks", "2", "--out", "r")  # fmt: skip
    quiet = here(*asked, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    again = here(*asked)
    assert "0 trials to run, 1 finished before." in again.stdout
    assert json.loads(here("status", "r", "--json").stdout)["counts"] == {"ok": 1}
    (row,) = json.loads(here("results", "r", "--json").stdout)
    assert (row["algorithm"], row["seed"], row["status"]) == ("scratch", 0, "ok")
    compared = json.loads(here("compare", "r", "r", "--json").stdout)
    assert [change["verdict"] for change in compared["changes"]] == ["same"]
    assert "scratch" in here("results", "r").stdout


def test_a_dry_run_says_what_will_not_work(here):
    said = here("run", "--algos", "protonet,scratch", "--suites", "sinusoid", "--seeds", "1", "--dry-run", "--set",
                "scratch.inner_lr=0.1,0.2").stdout  # fmt: skip
    assert "Left out: protonet on sinusoid: it is for classification" in said
    assert "sinusoid scratch seed 0 (inner_lr=0.2)" in said
    assert "3 trials, 3 of them to run" in said
    refused = here("run", "--strategy", "vectorized").stderr
    assert "Did you mean 'vectorised'? Available: auto, " in refused
