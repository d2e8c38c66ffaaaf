"""Trackers and exports: a stranger's is told of every trial, ours write what their programs read, none stops it."""

from __future__ import annotations

import csv
import sys

import pandas as pd
import pytest

import metabench
from metabench.errors import UserError
from metabench.experiments.exports import export
from metabench.experiments.trackers.follow import Follower, final
from metabench.experiments.trackers.mlflow_tracker import allowed
from metabench.records import store
from metabench.records.record import Progress
from tests import builders

PLUGIN = """
import json

from metabench.api import hookimpl

class Lines:
    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = open(folder / "lines.jsonl", "w", encoding="utf-8")

    def line(self, *what):
        print(json.dumps(what), file=self.file, flush=True)

    def start(self, run, parameters):
        self.line("start", run, dict(parameters))

    def log(self, run, step, values):
        self.line("log", run, step, dict(values))

    def finish(self, run, values, status):
        self.line("finish", run, dict(values), status)

    def close(self):
        self.line("close")
        self.file.close()

@hookimpl
def register_trackers():
    return {"lines": Lines}
"""
PARAMETERS = {"inner_lr": 0.1, "sizes": [3], "first": True}


def outcome(seed: int = 0):
    trial = builders.trial("mine", "glyphs", seed, algorithm_parameters=PARAMETERS, suite_parameters={"ways": 5})
    curve = builders.points({0: 0.2, 5: 0.7}, 0.5)
    scores = {"transductive": [[0.3, 0.4], [0.5, 0.8]]}
    return builders.outcome(trial, scores, curve=curve, train_seconds=2.5)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "results" / "one"
    for seed in range(2):
        store.write(folder, outcome(seed))
    store.write(folder, builders.failure(builders.trial("other", "glyphs", 0), "diverged"))
    return folder


class Memory:
    """Remembers what it is told."""

    def __init__(self, fails_at: str = ""):
        self.told: list[tuple] = []
        self.fails_at = fails_at

    def __getattr__(self, name):
        def call(*arguments):
            if name == self.fails_at:
                raise OSError("the disk is full")
            self.told.append((name, *arguments))

        return call


def test_a_trial_is_told_from_its_settings_to_its_end():
    memory, record = Memory(), outcome().record
    follower = Follower({"memory": memory})
    follower.on_progress(record.trial, Progress(record.trial.id, "train", 5, 10, loss=0.5))
    follower.on_progress(record.trial, Progress(record.trial.id, "train", 5, 10, score=float("nan")))
    follower.on_progress(record.trial, Progress(record.trial.id, "test", 1, 10))
    follower.on_record(record)
    follower.close()
    (started,) = (told[2] for told in memory.told if told[0] == "start")
    assert started["glyphs.ways"] == 5
    assert started["mine.sizes"] == "[3]"
    assert started["seed"] == 0
    assert started["updates"] == record.trial.budget.updates
    logged = {(step, name): value for kind, *rest in memory.told if kind == "log"
              for _, step, values in [rest] for name, value in values.items()}  # fmt: skip
    assert logged[5, "train/loss"] == 0.5
    assert logged[5, "validation/score"] == 0.7
    assert logged[5, "validation/train_seconds"] == 2.5
    assert logged[1, "test/accuracy"] == pytest.approx(0.65)
    assert not any(name == "validation/train_loss" for _, name in logged)  # not known
    ((_, run, values, status),) = (told for told in memory.told if told[0] == "finish")
    assert (run, status) == (record.trial.id, "ok")
    assert values["score"] == pytest.approx(0.65)
    assert values["train_seconds"] == 2.5
    assert values == final(record)
    assert memory.told[-1] == ("close",)


@pytest.mark.parametrize("where", ["start", "log", "finish", "close"])
def test_a_tracker_that_fails_is_left_and_the_others_go_on(where):
    fails, works = Memory(where), Memory()
    follower = Follower({"fails": fails, "works": works})

    def follow():
        for seed in range(2):
            follower.on_record(outcome(seed).record)
        follower.close()

    with pytest.warns(UserWarning, match="Tracking with fails ended: OSError: the disk is full"):
        follow()
    assert [kind for kind, *_ in works.told if kind != "log"] == ["start", "finish", "start", "finish", "close"]


def test_tables_are_what_load_gives(root, tmp_path):
    assert export(root, "csv", tmp_path / "out") == 3
    with open(tmp_path / "out" / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trials = metabench.load(root)
    assert [row["trial_id"] for row in rows] == trials["trial_id"].to_list()
    assert {row["mine.inner_lr"] for row in rows} == {"0.1", ""}
    assert len(pd.read_csv(tmp_path / "out" / "tasks.csv")) == len(metabench.load_tasks(root))
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert curves["score"].to_list() == [0.2, 0.7] * 2
    pytest.importorskip("pyarrow")
    export(root, "parquet", tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "trials.parquet")["score"].to_list() == pytest.approx(
        trials["score"].to_list(), nan_ok=True
    )


def test_tensorboard_reads_what_was_written(root, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second export replaces the first
        export(root, "tensorboard", tmp_path / "out")
    name = outcome().record.trial.id
    assert len(list((tmp_path / "out" / name).iterdir())) == 1
    read = EventAccumulator(str(tmp_path / "out" / name))
    read.Reload()
    assert [(event.step, round(event.value, 4)) for event in read.Scalars("validation/score")] == [(0, 0.2), (5, 0.7)]
    assert [event.step for event in read.Scalars("test/accuracy")] == [0, 1]
    assert read.Scalars("end/score")[0].value == pytest.approx(0.65)
    assert "_hparams_/session_start_info" in read.PluginTagToContent("hparams")


def test_mlflow_reads_what_was_written(root, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    export(root, "mlflow", tmp_path / "exports" / "one" / "mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "exports" / "one" / "mlflow").as_uri())
    (experiment,) = (each for each in client.search_experiments() if each.name == "one")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 3
    run = runs[outcome().record.trial.id]
    assert run.data.params["glyphs.ways"] == "5"
    assert run.data.metrics["score"] == pytest.approx(0.65)
    history = client.get_metric_history(run.info.run_id, "validation/score")
    assert [(point.step, point.value) for point in history] == [(0, 0.2), (5, 0.7)]
    assert {run.info.status for run in runs.values()} == {"FINISHED", "FAILED"}


def test_wandb_writes_a_run_for_each_trial(root, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    export(root, "wandb", tmp_path / "out")
    assert len(list((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))) == 3


def test_a_strangers_tracker_follows_a_run_and_an_export(here, tmp_path):
    (tmp_path / "lines.py").write_text(PLUGIN, encoding="utf-8")
    asked = ("--algos", "scratch", "--suites", "sinusoid", "--seeds", "1", "--updates", "2", "--test-tasks", "4",
             "--validation-tasks", "2", "--out", "results/r", "--plugin", "lines.py", "--track", "lines")  # fmt: skip
    result = here("run", *asked)
    assert result.returncode == 0, result
    live = (tmp_path / "exports" / "r" / "lines" / "lines.jsonl").read_text("utf-8").splitlines()
    assert here("export", "results/r", "--to", "lines", "--plugin", "lines.py", "--out", "again").returncode == 0
    later = (tmp_path / "again" / "lines.jsonl").read_text("utf-8").splitlines()
    assert set(later) <= set(live)
    assert live[-1] == '["close"]'


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "no tracker 'nope'. Available: csv, mlflow, parquet, "),
        ("tensorboard", "tensorboard is not installed: pip install"),
    ],
)
def test_what_is_not_there_is_one_line(root, tmp_path, name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=message) as e:
        export(root, name, tmp_path / "out")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


def test_names_that_mlflow_takes():
    assert allowed("omniglot+rotate=30.ways") == "omniglot_rotate_30.ways"
    assert allowed("score/gap_ci95") == "score/gap_ci95"
