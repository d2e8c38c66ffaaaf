"""A trial that was interrupted anywhere and resumed is the trial that was not, bit for bit."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
import torch

from metabench.engine.run import run_trial
from metabench.engine.strategies import compiled
from metabench.records.checkpoints import FolderCheckpointStore, opened
from metabench.records.record import StoppedError
from metabench.records.trials import Budget, Execution, Trial
from metabench.registry.requirements import is_installed
from tests.traced import as_traced

BUDGET = Budget(updates=12, meta_batch_size=4, validations=4, validation_tasks=10, test_tasks=20, test_steps=2)


class InMemory:
    """A CheckpointStore that keeps every checkpoint it was ever given."""

    results = None

    def __init__(self, content=None):
        self.content = content
        self.all = []
        self.refused = []

    def save(self, content, update):
        self.content = content
        self.all.append((update, content))

    def load(self):
        return self.content

    def load_shorter(self, lineage, updates):
        return None

    def refuse(self, reason):
        self.content = None
        self.refused.append(reason)


def trial_of(registry, algorithm="maml", suite="sinusoid", **fields):
    return Trial(
        algorithm=algorithm,
        algorithm_parameters=registry.get("algorithm", algorithm).resolve({}),
        suite=suite,
        suite_parameters=registry.get("suite", suite).resolve(SMALL.get(suite, {})),
        seed=3,
        **({"budget": BUDGET} | fields),
    )


def same(one, other):
    """What the two outcomes found, bit for bit: all but times, memory and provenance."""

    def found(outcome):
        record = outcome.record
        curve = [msgspec.structs.replace(point, train_seconds=0.0) for point in record.curve]
        return (record.status, record.reason, record.tests, curve, record.selected_update, outcome.scores)

    return found(one) == found(other)


def run(trial, registry, keeper=None, stopping=lambda: False, **fields):
    execution = Execution(**{"checkpoint_updates": 1, "checkpoint_seconds": None} | fields)
    return run_trial(trial, execution, lambda sign: None, registry, keeper=keeper, stopping=stopping)


SMALL = {"glyphs": {"filters": 4}, "cheetah": {"horizon": 3, "trajectories": 2, "width": 4}}
LEARNERS = [
    ("maml", "sinusoid", "vectorised"),
    ("maml", "glyphs", "threaded"),
    ("maml", "sinusoid", "compiled"),
    ("reptile", "sinusoid", "vectorised"),
    ("finetune", "glyphs", "auto"),
    ("l2l-maml", "sinusoid", "auto"),
    *([("maml", "cheetah", "vectorised")] if is_installed("mujoco") else []),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "suite", "strategy"), LEARNERS)
def test_resumed_equals_uninterrupted(registry, algorithm, suite, strategy, monkeypatch):
    monkeypatch.setattr(compiled, "load_or_compile", as_traced)
    few = msgspec.structs.replace(BUDGET, validation_tasks=2, test_tasks=4)  # a cheetah takes its time
    trial = trial_of(registry, algorithm, suite, budget=few if suite == "cheetah" else BUDGET)
    keeper = InMemory()
    whole = run(trial, registry, keeper, strategy=strategy)
    assert whole.record.status == "ok"
    assert [update for update, _ in keeper.all] == list(range(1, 13))
    for update in (1, 7, 12):
        again = run(trial, registry, InMemory(dict(keeper.all)[update]), strategy=strategy)
        assert same(again, whole)
        assert again.record.provenance.resumed == (update,)
    assert len(again.record.curve) == 5


def test_a_trial_that_is_asked_to_stop_keeps_what_it_has(registry):
    trial = trial_of(registry)
    asked = iter([False] * 5 + [True] * 9)
    keeper = InMemory()
    with pytest.raises(StoppedError):
        run(trial, registry, keeper, stopping=lambda: next(asked), checkpoint_updates=None)
    assert [update for update, _ in keeper.all] == [6]
    assert same(run(trial, registry, keeper), run(trial, registry))


class Noisy:
    """A learner of another library: it draws from every global random stream there is."""

    trainable = True

    def __init__(self, problem):
        self.apply = problem.apply
        self.weights = problem.init()

    def update(self, tasks, progress):
        noise = torch.rand(()) + random.random() + np.random.rand()
        self.weights = {name: weight + 0.01 * noise for name, weight in self.weights.items()}
        return noise

    def adapt(self, support, steps):
        for _ in range(steps + 1):
            yield [lambda x: self.apply(self.weights, x) for _ in support.x]

    def state_dict(self):
        return {"weights": dict(self.weights)}

    def load_state_dict(self, state):
        self.weights = dict(state["weights"])


def test_a_foreign_learner_draws_from_the_same_global_stream(registry):
    entry = registry.get("algorithm", "maml")._replace(name="noisy", factory=Noisy, parameters={})
    registry = registry._replace(algorithms=registry.algorithms | {"noisy": entry})
    trial = trial_of(registry, "noisy")
    keeper = InMemory()
    whole = run(trial, registry, keeper)
    assert same(run(trial, registry, InMemory(dict(keeper.all)[5])), whole)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 50, "cut", "flipped"])
def test_a_damaged_checkpoint_is_set_aside_and_the_trial_begins_anew(registry, tmp_path, damage):
    trial = trial_of(registry)
    keeper = InMemory()
    whole = run(trial, registry, keeper)
    content = keeper.content
    if damage == "cut":
        damage = content[: len(content) // 2]
    elif damage == "flipped":
        damage = content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
    folder = FolderCheckpointStore(tmp_path)
    folder.save(damage, 1)
    again = run(trial, registry, folder)
    assert same(again, whole)
    assert "set aside" in again.record.provenance.notice
    assert (tmp_path / "checkpoint.pt.damaged-1").read_bytes() == damage


def test_a_checkpoint_of_another_trial_or_of_other_code_is_not_used(registry):
    keeper = InMemory()
    run(trial_of(registry), registry, keeper)
    other = trial_of(registry, budget=msgspec.structs.replace(BUDGET, updates=13))
    stranger = InMemory(keeper.content)
    assert same(run(other, registry, stranger), run(other, registry))
    assert "one of trial" in stranger.refused[0]
    line, _, rest = keeper.content.partition(b"\n")
    changed = InMemory(line.replace(b'"metabench":"', b'"metabench":"9') + b"\n" + rest)
    run(trial_of(registry), registry, changed)
    assert changed.refused == ["the code has changed since it was written"]


def test_a_full_disk_costs_the_checkpoint_and_not_the_trial(registry):
    class Full(InMemory):
        def save(self, content, update):
            raise OSError(28, "No space left on device")

    outcome = run(trial_of(registry), registry, Full())
    assert same(outcome, run(trial_of(registry), registry))
    assert outcome.record.provenance.notice == "no checkpoint could be written: No space left on device"


def test_a_checkpoint_says_how_far_it_is(registry):
    keeper = InMemory()
    run(trial_of(registry), registry, keeper, checkpoint_updates=5)
    header, _ = opened(keeper.content)
    assert [update for update, _ in keeper.all] == [5, 10, 12]  # the last one before the test
    assert (header.update, header.updates) == (12, 12)
    assert header.seconds > 0
