"""Examples of test tasks: what was scored and nothing else, small, and never the death of a trial."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from metabench.api import Batch, Task
from metabench.engine import examples
from metabench.engine.run import run_trial
from metabench.engine.tasks import task_blocks
from metabench.records import store
from metabench.records.record import Outcome
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Registry
from metabench.report.collect import configurations, example_tasks
from metabench.report.formatting import is_share
from tests import builders

BUDGET = Budget(updates=2, meta_batch_size=2, validations=1, validation_tasks=4, test_tasks=6, test_steps=7)


def run(registry: Registry, suite: str, protocol: str = "transductive", **parameters) -> Outcome:
    trial = builders.trial("reptile", suite, suite_parameters=parameters, budget=BUDGET, protocol=protocol)
    outcome = run_trial(trial, Execution(), lambda sign: None, registry)
    assert outcome.record.status == "ok", outcome.record.reason
    return outcome


@pytest.mark.parametrize(
    ("suite", "protocol"), [("sinusoid", "transductive"), ("glyphs", "transductive"), ("glyphs", "inductive")]
)
def test_the_predictions_are_those_that_were_scored(registry, tmp_path, suite, protocol):
    """The metric, from the points and predictions that were kept, is the score of that task after that step."""
    small = {"queries": 2} if suite == "glyphs" else {}
    outcome = run(registry, suite, protocol, **small)
    found = outcome.examples
    assert found
    assert found.steps == [0, 1, 5, 7]
    assert len(found.tasks) == examples.TASKS
    assert len(msgspec.json.encode(found)) < examples.LIMIT
    scores = outcome.scores[found.protocol][outcome.record.metric]
    for index, task in enumerate(found.tasks):
        for step, values in zip(found.steps, task.predicted):
            true, guess = np.array(task.query_y), np.array(values)
            score = (true == guess).mean() if is_share(outcome.record.metric) else ((true - guess) ** 2).mean()
            assert score == pytest.approx(scores[step][index], rel=2e-3, abs=1e-6)
    store.write(tmp_path, outcome)
    (group,) = configurations.collect(store.records(tmp_path), tmp_path)
    (shown,) = example_tasks.of_suite([group], images=suite == "glyphs")
    for index, task in enumerate(shown.tasks):
        assert list(task.scores) == [scores[step][index] for step in found.steps]


def test_images_come_back_as_they_were(registry):
    """To the nearest of 256 greys, and those of the first test tasks."""
    found = run(registry, "glyphs").examples
    suite = registry.get("suite", "glyphs").factory()
    (block,) = task_blocks(suite, "glyphs", "test", 4, "cpu")
    for index, task in enumerate(found.tasks):
        for values, wanted in ((task.support_x, block.support.x), (task.query_x, block.query.x[:, :10])):
            pixels = example_tasks.points(values, wanted.shape[1], found.shape)
            assert np.abs(pixels - wanted[index].permute(0, 2, 3, 1).numpy()).max() <= 0.5 / 255 + 1e-6


class Spy:
    """A learner that remembers what it saw, and answers with zeros."""

    trainable = False

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        self.seen: list[torch.Tensor] = []

    def adapt(self, support, steps):
        self.seen += support
        for _ in range(steps + 1):
            yield [self.predict] * len(support.x)

    def predict(self, x):
        self.seen.append(x)
        return torch.zeros(len(x), self.outputs)


def tasks(shape: tuple[int, ...], classes: bool, points: int = 3, n: int = 5) -> Task:
    """Query targets are 77 throughout, which nothing else is."""
    x = torch.rand(n, points, *shape)
    if classes:
        return Task(Batch(x, torch.zeros(n, points, dtype=torch.int64)), Batch(x, torch.full((n, points), 77)))
    return Task(Batch(x, torch.zeros(n, points, 1)), Batch(x, torch.full((n, points, 1), 77.0)))


@pytest.mark.parametrize(("shape", "classes"), [((1,), False), ((1, 8, 8), True), ((3, 84, 84), True)])
def test_a_learner_sees_no_query_target(shape, classes):
    spy = Spy(3 if classes else 1)
    found = examples.examples(spy, tasks(shape, classes), 2, "transductive", inductive=False)
    assert found
    assert found.steps == [0, 1, 2]
    assert [len(task.query_y) for task in found.tasks] == [3] * examples.TASKS
    assert spy.seen
    assert not any((values == 77).any() for values in spy.seen)
    if len(shape) == 3:
        assert found.shape == [shape[0], *((8, 8) if shape[1] == 8 else (28, 28))]


def test_what_cannot_be_drawn_or_is_too_much_is_left_out():
    for of in (tasks((2,), False), tasks((4,), True), tasks((2, 8, 8), True)):
        assert examples.examples(Spy(1), of, 1, "inductive", inductive=False) is None
    many = tasks((3, 32, 32), True, points=100)
    assert examples.examples(Spy(2), many, 1, "inductive", inductive=False) is None, "noise does not compress"
    assert examples.examples(Spy(1), tasks((1,), False), 0, "inductive", inductive=False).steps == [0]


def test_an_exception_means_no_examples():
    class Broken(Spy):
        def predict(self, x):
            raise RuntimeError("a bug")

    assert examples.examples(Broken(1), tasks((1,), False), 1, "inductive", inductive=False) is None


def test_they_are_kept_beside_the_scores_and_checked(registry, tmp_path):
    outcome = run(registry, "sinusoid")
    store.write(tmp_path, outcome)
    (record,) = store.records(tmp_path)
    assert store.examples(tmp_path, record) == outcome.examples
    assert msgspec.json.decode(store.read_scores(tmp_path, record)) == outcome.scores
    path = tmp_path / record.trial.id / store.EXAMPLES
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="Skipped the examples of"):
        assert store.examples(tmp_path, record) is None
    assert store.examples(tmp_path, msgspec.structs.replace(record, examples_sha256="")) is None
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome)
    assert again.examples == outcome.examples, "as a cluster sends them"


@pytest.mark.parametrize("suite", ["navigation", "pendulum"])
def test_trajectories_are_kept_where_a_policy_sees_its_place_in_the_plane(registry, suite):
    small = {"horizon": 6, "trajectories": 3, "width": 4}
    parameters = registry.get("suite", suite).resolve(small)
    trial = builders.trial("scratch", suite, suite_parameters=parameters, budget=BUDGET)
    outcome = run_trial(trial, Execution(), lambda sign: None, registry)
    found = outcome.examples
    if suite == "pendulum":  # which sees an angle and a speed
        assert found is None
        return
    assert (found.steps, found.paths, len(found.tasks)) == ([0, 1, 2, 3, 7], 3, examples.TASKS)
    paths = np.array(found.tasks[0].predicted).reshape(5, 3, 6, 2)
    assert not paths[:, :, 0].any(), "they start at the origin"
    goal = np.array(found.tasks[0].support_y)
    back = np.array([np.linalg.norm(path - goal, axis=-1)[:, 1:].sum(1).mean() for path in paths])
    scores = [step[0] for step in outcome.scores["inductive"]["return"]]
    for step, walked in zip(found.steps, back):  # the place after the last step is not among them
        assert walked < -scores[step] < walked + 2
