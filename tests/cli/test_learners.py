"""metabench score and adapt: trained learners on other tasks, and on the reader's own."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import metabench
from metabench.engine.run import run_trial
from metabench.records import store
from metabench.records.trials import Budget, Execution
from tests.engine.test_resume import trial_of

pytestmark = pytest.mark.xdist_group("learners by command")  # what it looks at is made once

BUDGET = Budget(updates=2, meta_batch_size=2, validations=0, validation_tasks=4, test_tasks=4, test_steps=2)


@pytest.fixture(scope="module")
def root(registry, tmp_path_factory):
    """A folder with results of three trials, own images and own tables."""
    path = tmp_path_factory.mktemp("learners")
    for algorithm, suite, seed in (("maml", "sinusoid", 3), ("maml", "glyphs", 3), ("protonet", "glyphs", 3)):
        trial = trial_of(registry, algorithm, suite, budget=BUDGET)
        assert trial.seed == seed
        store.write(path / "r", run_trial(trial, Execution(keep_state=True), lambda sign: None, registry))
    learner = metabench.load_learner(path / "r", "protonet")
    support, query = learner.suite.sample("test", 1, torch.Generator().manual_seed(0))
    for name, batch, ink in (("support", support, 255), ("query", query, 255), ("paper", query, 0)):
        for number, (x, y) in enumerate(zip(batch.x[0, :, 0], batch.y[0])):
            place = path / name / f"class {int(y)}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            grey = (x * 255 if ink else 255 - x * 255).numpy().round().astype(np.uint8)
            Image.fromarray(grey).save(place)
    (path / "s.csv").write_text("x,y\n0,1\n1,0.5\n-1,-0.5\n", encoding="utf-8")
    (path / "q.csv").write_text("x\n0.5\n2\n", encoding="utf-8")
    (path / "known.csv").write_text("y,x\n1,0.5\n2,2\n", encoding="utf-8")
    (path / "words.csv").write_text("x,y\na,1\n", encoding="utf-8")
    (path / "short.csv").write_text("x,y\n1\n", encoding="utf-8")
    (path / "empty").mkdir()
    return path


def test_score_is_the_test_again(here, root):
    before = {record.trial.id: record for record in store.records(root / "r")}
    result = here("score", "r", "--suites", "sinusoid,glyphs", "--algos", "maml", "--out", "again", cwd=root)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Left out: ") == 2  # of each what it was not trained on
    found = list(store.records(root / "again"))
    assert len(found) == 2
    for record in found:
        assert record.tests == before[record.trial.id].tests
        assert record.curve == before[record.trial.id].curve
        assert record.provenance.digests == before[record.trial.id].provenance.digests
        assert "trained as" in record.provenance.notice
        assert store.scores(root / "again", record) == store.scores(root / "r", before[record.trial.id])


def test_an_unknown_suite_is_refused_and_what_is_left_out_for_one_reason_is_one_line(here, root):
    refused = here("score", "r", "--suites", "sinusiod", cwd=root)
    assert refused.returncode == 2
    assert refused.stderr.startswith("metabench: Unknown suite 'sinusiod'. Did you mean 'sinusoid'?")
    result = here("score", "r", "--suites", "harmonic", "--test-tasks", "2", cwd=root)
    assert next(line for line in result.stdout.splitlines() if "Left out" in line).startswith(
        "Left out: 2 learners on harmonic: Suite 'glyphs:harmonic': glyphs and harmonic do not fit"
    )


def test_score_has_more_tasks_and_other_settings(here, root):
    result = here(
        *("score", "r", "--suites", "sinusoid", "--test-tasks", "6", "--test-steps", "1"),
        *("--set", "sinusoid.shots=3", "--out", "more"),
        cwd=root,
    )
    assert result.returncode == 0, result.stderr
    tasks = metabench.load_tasks(root / "more")
    assert (len(tasks), tasks["task"].max(), tasks["step"].max()) == (12, 5, 1)
    assert [record.trial.suite_parameters["shots"] for record in store.records(root / "more")] == [3]


def test_a_learner_elsewhere_is_one_that_was_trained_for_it(here, registry, root):
    """The record is that of a trial on A:B, whose training is the same as on A."""
    result = here(
        "score", "r", "--suites", "sinusoid:harmonic,glyphs+rotate=90", "-a", "maml", "--out", "pair", cwd=root
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = {record.trial.suite: record for record in store.records(root / "pair")}
    assert found.keys() == {"glyphs:glyphs+rotate=90", "sinusoid:harmonic"}
    assert "Left out: sinusoid-maml" in result.stdout  # on images
    record = found["glyphs:glyphs+rotate=90"]
    trained = run_trial(record.trial, Execution(strategy=record.strategy), lambda sign: None, registry)
    assert trained.record.tests == record.tests
    assert trained.record.provenance.digests == record.provenance.digests
    assert record.provenance.digests.tests


def test_score_in_python(root):
    learner = metabench.load_learner(root / "r", suite="sinusoid")
    named = metabench.score(learner, "sinusoid")
    recorded = metabench.load_tasks(root / "r").query("suite == 'sinusoid'")
    assert list(named["mse"]) == list(recorded["mse"])
    assert set(named.columns) == set(recorded.dropna(axis=1).columns)
    tasks = learner.suite.sample("test", 3, torch.Generator().manual_seed(0))
    own = metabench.score(learner, tasks, steps=1)
    assert (len(own), set(own["suite"])) == (6, {"tasks"})
    predicted = learner.adapt(tasks.support.x[2], tasks.support.y[2], steps=1)(tasks.query.x[2])
    expected = float((predicted - tasks.query.y[2]).square().mean())
    assert own["mse"].iloc[-1] == pytest.approx(expected, rel=1e-4)
    assert len(metabench.score(learner, learner.suite, test_tasks=60, steps=0)) == 60
    for bad in (3, tasks._replace(query=tasks.query._replace(y=tasks.query.y[:, :2])), tasks.support):
        with pytest.raises(metabench.UserError):
            metabench.score(learner, bad)
    with pytest.raises(metabench.UserError, match="Only a suite that is named"):
        metabench.score(learner, tasks, shots=3)


def written(path):
    """The rows of a CSV file, without its heading."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def test_adapt_to_images(here, root):
    words = ("adapt", "r", "--algo", "protonet", "--images", "support", "--query")
    result = here(*words, "query", "--out", "p.csv", cwd=root)
    assert result.returncode == 0, result.stderr
    assert "made 28 x 28, grey, from 0 to 1, not inverted" in result.stdout
    rows = written(root / "p.csv")
    right = sum(file.split("/")[0] == label for file, label, _ in rows)
    assert f"Right: {right} of {len(rows)}" in result.stdout
    learner = metabench.load_learner(root / "r", "protonet")
    support, query = learner.suite.sample("test", 1, torch.Generator().manual_seed(0))
    told = learner.adapt(support.x[0], support.y[0])(query.x[0]).tolist()
    assert {file.split("/")[1]: label for file, label, _ in rows} == {
        f"{number}.png": f"class {label}" for number, label in enumerate(told)
    }


def test_ink_on_paper_is_noticed_and_inverted(here, root):
    words = ("adapt", "r", "--algo", "protonet", "--images", "paper", "--query", "paper")
    plain, inverted = here(*words, cwd=root).stdout, here(*words, "--invert", cwd=root).stdout
    assert "Your images are brighter" in plain
    assert "try --invert" not in inverted


def test_adapt_to_a_table(here, root):
    words = ("adapt", "r", "--suite", "sinusoid", "--csv", "s.csv", "--query")
    result = here(*words, "q.csv", "--out", "t.csv", cwd=root)
    assert result.returncode == 0, result.stderr
    learner = metabench.load_learner(root / "r", suite="sinusoid")
    expected = learner.adapt([0.0, 1.0, -1.0], [1.0, 0.5, -0.5])(np.array([0.5, 2.0]))
    assert [float(value) for _, value in written(root / "t.csv")] == pytest.approx(expected[:, 0].tolist(), rel=1e-4)
    error = ((expected[:, 0] - [1, 2]) ** 2).mean()
    assert f"Mean squared error: {error:.4g}." in here(*words, "known.csv", cwd=root).stdout


REFUSED = {
    "adapt r --query q.csv": "Say what the support set is",
    "adapt r --images support --query query": "3 trials fit",
    "adapt r --suite sinusoid --images support --query query": "not images of classes: see --csv",
    "adapt r --algo protonet --csv s.csv --query q.csv": "not rows of numbers",
    "adapt r --suite sinusoid --csv none.csv --query q.csv": "Cannot read 'none.csv'",
    "adapt r --suite sinusoid --csv words.csv --query q.csv": "row 2: 'x' is 'a', not a number",
    "adapt r --suite sinusoid --csv short.csv --query q.csv": "row 2: 1 values for 2 columns",
    "adapt r --suite sinusoid --csv s.csv --query q.csv --target z": "no column 'z'",
    "adapt r --algo protonet --images empty --query query": "two at least",
    "adapt r --algo protonet --images support --query empty": "holds no images",
    "adapt r --algo protonet --images none --query query": "Cannot read the folder 'none'",
    "score r": "Say where to test",
    "score r --suites sinusoid --algos nope": "no learner of algorithm 'nope'",
    "score empty --suites sinusoid": "No learner was kept",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_one_line(here, root, words):
    result = here(*words.split(), cwd=root)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert REFUSED[words] in result.stderr
