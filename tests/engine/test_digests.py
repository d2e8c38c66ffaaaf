"""Digests of data: another for other tasks, the same where only rounding differs; and what they are kept for."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metabench.api import Batch, Task
from metabench.engine.digests import data_digests, sketch
from metabench.engine.run import run_trial
from metabench.records.checkpoints import NullCheckpointStore
from metabench.records.trials import Budget, Execution
from metabench.testing.toy_suites import clouds, lines
from tests import builders
from tests.malformed import tries

BUDGET = Budget(updates=4, meta_batch_size=2, validations=2, validation_tasks=4, test_tasks=4, test_steps=1)
EVERY = Execution(strategy="threaded", checkpoint_updates=1)
CHANGES = {
    "permuted": lambda y: y[:, torch.randperm(y.shape[1], generator=torch.Generator().manual_seed(1))],
    "scaled": lambda y: 2 * y,
    "shifted": lambda y: y + 0.1,
    "tasks in another order": lambda y: y.flip(0),
    "one value": lambda y: torch.cat([y[:, :1] + (torch.arange(len(y)) == 0)[:, None, None], y[:, 1:]], 1),
}


def tasks(seed: int) -> Task:
    generator = torch.Generator().manual_seed(seed)
    return lines().sample("test", 20, generator)


@given(st.integers(0, 200), st.sampled_from(sorted(CHANGES)))
@tries(60)
def test_other_tasks_have_another_sketch_and_rounding_none(seed, change):
    drawn = tasks(seed)
    noise = 1 + 6e-8 * torch.randn(drawn.support.y.shape, generator=torch.Generator().manual_seed(seed))
    rounded = drawn._replace(support=Batch(drawn.support.x, drawn.support.y * noise))
    other = drawn._replace(support=Batch(drawn.support.x, CHANGES[change](drawn.support.y)))
    assert sketch(drawn) == sketch(rounded)
    assert sketch(drawn) != sketch(other)


def test_classes_count_bit_by_bit():
    drawn = clouds().sample("test", 3, torch.Generator().manual_seed(0))
    y = drawn.query.y.clone()
    y[0, 0] = (y[0, 0] + 1) % 3
    assert sketch(drawn._replace(query=Batch(drawn.query.x, y))) != sketch(drawn)


class Kept(NullCheckpointStore):
    """Keeps the checkpoints of one update, and what was refused."""

    def __init__(self, update: int, content: bytes | None = None) -> None:
        self.update, self.content, self.refused = update, content, ""

    def save(self, content, update):
        if update <= self.update:
            self.content = content

    def load(self):
        return self.content

    def refuse(self, reason):
        self.refused = reason


def changed(registry, scale: float):
    """A registry whose sinusoid is lines, with targets of another scale."""
    suite = lines()

    def sample(split, n, generator):
        drawn = suite.sample(split, n, generator)
        support = Batch(drawn.support.x, drawn.support.y * (scale if split == "train" else 1))
        return drawn._replace(support=support)

    entry = registry.get("suite", "sinusoid")._replace(factory=lambda: suite._replace(sample=sample), parameters={})
    return registry._replace(suites=registry.suites | {"sinusoid": entry})


def run(registry, execution=EVERY, **fields):
    trial = builders.trial("maml", "sinusoid", budget=BUDGET)
    return run_trial(trial, execution, lambda sign: None, registry, **fields)


def test_a_checkpoint_is_not_used_over_other_data(registry):
    keeper = Kept(2)
    first = run(changed(registry, 1.0), keeper=keeper).record
    again, other = (Kept(2, keeper.content) for _ in range(2))
    assert run(changed(registry, 1.0), keeper=again).record.provenance.resumed == (2,)
    found = run(changed(registry, 3.0), keeper=other).record
    assert other.refused == "the data have changed since it was written"
    assert found.provenance.resumed == ()
    then, now = first.provenance.digests, found.provenance.digests
    assert (then.data != now.data, then.tests == now.tests) == (True, True)


def test_by_code_that_was_changed_after_the_run_began_nothing_is_run(registry):
    execution = msgspec.structs.replace(EVERY, code={"algorithm maml": "as it was then"})
    record = run(registry, execution).record
    assert record.status == "error"
    assert "the code of algorithm maml was changed after this run had begun; with --retry-failed" in record.reason
    assert not record.is_final


def test_a_path_is_not_the_data(tmp_path, monkeypatch):
    trial = builders.trial("a", "s", suite_parameters={"path": "data.csv"})
    digests = []
    for folder, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text(text, "utf-8")
        monkeypatch.chdir(tmp_path / folder)
        digests.append(data_digests(trial, lines()).data)
    assert digests[0] == digests[2] != digests[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "b"))
    assert data_digests(trial, lines()).data == digests[1]


@pytest.mark.parametrize("where", ["validation", "test"])
def test_a_failure_at_the_end_does_not_cost_the_training(registry, where):
    """The first attempt fails at the last validation, or at the test; the second goes on from what was selected."""
    entry, suite, broken = registry.get("suite", "sinusoid"), lines(), [True]

    def metrics(predict, batch):
        if broken[0] and updates[0] >= BUDGET.updates and (where == "validation" or tested[0]):
            raise OSError("the disk is full")
        return suite.metrics(predict, batch)

    updates, tested = [0], [False]

    def progress(sign):
        updates[0] = sign.done if sign.phase == "train" else updates[0]
        tested[0] = sign.score is not None and sign.done == BUDGET.updates

    made = entry._replace(factory=lambda: suite._replace(metrics=metrics), parameters={})
    registry = registry._replace(suites=registry.suites | {"sinusoid": made})
    trial, keeper = builders.trial("maml", "sinusoid", budget=BUDGET), Kept(99)
    rare = Execution(strategy="threaded")
    failed = run_trial(trial, rare, progress, registry, keeper=keeper).record
    assert (failed.status, failed.reason) == ("error", "OSError: the disk is full")
    broken[0] = False
    again = run_trial(trial, rare, progress, registry, keeper=keeper)
    whole = run_trial(trial, rare, progress, registry)
    assert again.record.provenance.resumed == (BUDGET.updates,)
    assert (again.scores, again.record.selected_update) == (whole.scores, whole.record.selected_update)
    curves = [[(point.update, point.score) for point in each.record.curve] for each in (again, whole)]
    assert curves[0] == curves[1]
