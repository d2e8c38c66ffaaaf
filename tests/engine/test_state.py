"""What is known of a trial outlives a failure, and all of it a checkpoint."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from metabench.engine.checkpointing import from_bytes, to_bytes
from metabench.engine.norms import Norms
from metabench.engine.run import run_trial
from metabench.engine.state import Best, Last, TrialState
from metabench.records.provenance import StrategyChoice
from metabench.records.record import ValidationPoint
from metabench.records.trials import Budget, Execution
from metabench.testing.toy_suites import lines
from tests import builders

FULL = TrialState(
    update=7,
    validated=5,
    norms=Norms(0.5, 0.25),
    distinct_tasks=3,
    environment_steps=40,
    curve=[ValidationPoint(update=5, train_seconds=1.5, train_loss=None, score=0.25, ci95=0.125)],
    losses=[torch.tensor(1.0), torch.tensor(2.0)],
    best=Best(0.25, 5, {"weight": torch.tensor(3.0)}),
    last=Last({"weight": torch.tensor(4.0)}, {"python": [3, [1]]}, {"train": 1.25}),
    seconds={"train": 1.5, "prepare": 2.0},
    memory_mb=12.5,
    choice=StrategyChoice("threaded", {"threaded": 1.5}, "measured"),
    depends=True,
    not_finite=("at update 3 mse",),
    resumed=(3, 5),
    strategy="threaded",
    layers="blocks",
    higher_is_better=False,
    selection="last",
    selected_update=5,
)


@pytest.mark.parametrize("state", [FULL, TrialState()], ids=["full", "new"])
def test_a_checkpoint_holds_all_of_the_state(state):
    again = TrialState.from_dict(from_bytes(to_bytes(state.to_dict())), "cpu")
    assert again == state
    assert type(again.best) is type(state.best)


def test_no_field_of_the_full_state_is_at_its_default():
    assert all(getattr(FULL, field.name) != getattr(TrialState(), field.name) for field in fields(TrialState))


def failing(registry, where: str, when: int):
    """A registry with lines whose tasks of one split cannot be drawn from the n-th time on; a digest draws first."""
    suite, drawn = lines(), [0]

    def sample(split, n, generator):
        drawn[0] += split == where
        if split == where and drawn[0] > when:
            raise OSError("the disk is gone")
        return suite.sample(split, n, generator)

    entry = registry.get("suite", "sinusoid")._replace(factory=lambda: suite._replace(sample=sample), parameters={})
    return registry._replace(suites=registry.suites | {"sinusoid": entry})


BUDGET = Budget(updates=9, meta_batch_size=2, validations=3, validation_tasks=4, test_tasks=4, test_steps=1)


@pytest.mark.parametrize(
    ("where", "when", "curve", "selection"),
    [("train", 6, [0, 3], ""), ("validation", 1, [], ""), ("test", 1, [0, 3, 6, 9], "best on validation")],
)
def test_a_failure_loses_nothing_that_was_known(registry, where, when, curve, selection):
    trial = builders.trial("maml", "sinusoid", budget=BUDGET)
    outcome = run_trial(trial, Execution(strategy="threaded"), lambda sign: None, failing(registry, where, when))
    record = outcome.record
    assert (record.status, record.reason) == ("error", "OSError: the disk is gone")
    assert "in sample" in record.provenance.traceback
    assert [point.update for point in record.curve] == curve
    assert not curve or (record.train_seconds > 0 and record.validation_seconds > 0)
    assert record.selection == selection
    assert record.prepare_seconds > 0
    assert record.peak_memory_mb > 0
    assert outcome.scores == {}
