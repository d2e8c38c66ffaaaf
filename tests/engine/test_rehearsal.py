"""Before the first update a learner is tried: on each strategy until one runs, and for what it leaves behind."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from metabench.api import InnerLoop
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench.engine.rehearsal import rehearse
from metabench.engine.run import run_trial
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Entry, load_registry
from metabench.testing.toy_suites import clouds, lines
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.suites.pendulum import pendulum
from tests import builders

REGISTRY = load_registry()
BUDGET = Budget(updates=2, meta_batch_size=2, validations=1, validation_tasks=4, test_tasks=4, test_steps=2)


def trial_of(suite, algorithm="maml", factory=None, budget=BUDGET, **execution):
    added = {"mine": Entry("algorithm", "mine", factory, {}, "here")} if factory else {}
    registry = REGISTRY._replace(
        algorithms=REGISTRY.algorithms | added, suites={"here": Entry("suite", "here", lambda: suite, {}, "here")}
    )
    asked = builders.trial("mine" if factory else algorithm, "here", budget=budget)
    return run_trial(asked, Execution(**execution), lambda sign: None, registry).record


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.body, self.head = kind(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.body(x[:, None])[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.body, self.head = nn.Linear(1, 4), nn.MultiheadAttention(4, 2, batch_first=True), None
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        x = self.inputs(torch.stack([x, -x, x * x], 1))
        return self.head(self.body(x, x, x, need_weights=False)[0].mean(1))


def choosy(layer, error):
    """Refuses to run under vmap."""

    class Choosy(nn.Linear):
        def forward(self, x):
            if torch._C._are_functorch_transforms_active():
                raise error
            return super().forward(x)

    return Choosy(1, 1)


@pytest.mark.parametrize("updates", [0, 2, 100])
@pytest.mark.parametrize("kind", [nn.GRU, partial(choosy, error=TypeError("no vmap"))])
def test_auto_takes_the_next_strategy_and_the_record_says_why(kind, updates, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    model = (lambda: Recurrent(kind)) if isinstance(kind, type) else (lambda: kind(None))
    budget = Budget(updates=updates, meta_batch_size=2, validations=0, test_tasks=4, test_steps=2)
    record = trial_of(lines()._replace(model=model), "maml" if updates else "scratch", budget=budget)
    assert record.status == "ok", record.reason
    assert record.strategy == record.provenance.choice.strategy == "threaded"
    assert "not vectorised: " in record.provenance.choice.reason


def test_what_was_asked_for_is_not_replaced():
    record = trial_of(lines()._replace(model=lambda: Recurrent(nn.GRU)), strategy="vectorised")
    assert record.status == "error"
    assert "Batching rule not implemented" in record.reason


@pytest.mark.parametrize("algorithm", ["maml", "fomaml"])
@pytest.mark.parametrize("strategy", ["auto", "vectorised", "threaded"])
def test_attention_is_differentiated_twice(algorithm, strategy):
    record = trial_of(lines()._replace(model=Attention), algorithm, strategy=strategy)
    assert record.status == "ok", record.reason


class OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return OnceOnly.apply(x * self.weight)


def test_a_layer_without_a_second_derivative_is_named_with_the_algorithms_that_would_work():
    suite = lines()._replace(model=lambda: nn.Sequential(nn.Linear(1, 1), Once(), nn.Linear(1, 1)))
    record = trial_of(suite, "maml")
    assert record.status == "error"
    assert record.reason.startswith("Layer '1' (Once) has no second derivative in torch, and algorithm")
    works = record.reason.partition("Without it run: ")[2].rstrip(".").split(", ")
    assert {"fomaml", "reptile"} <= set(works)
    assert not {"maml", "metasgd", "imaml"} & set(works)
    assert trial_of(suite, "fomaml").status == "ok"


def adapting(change):
    """maml whose `start` does something more."""

    def factory(problem):
        made = REGISTRY.algorithms["maml"].factory(problem)
        start = lambda meta, support: change(problem, meta, support)  # noqa: E731
        return made._replace(inner=InnerLoop(start, made.inner.step, made.inner.predict))

    return factory


def noisy(problem, meta, support):
    return {name: weight + torch.randn(weight.shape) for name, weight in meta.items()}


def overwriting(problem, meta, support):
    support.x.mul_(0.5)
    return meta


def moving(problem, meta, support):
    for weight in meta.values():
        weight.mul_(0.5)
    return meta


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (noisy, "adapts to the same task twice and predicts differently"),
        (overwriting, "writes into the task that it is given"),
        (moving, "changes its own state when it adapts to a task"),
    ],
)
@pytest.mark.parametrize("strategy", ["threaded", "vectorised"])
def test_an_algorithm_that_misbehaves_is_refused_before_training(change, words, strategy):
    if (change, strategy) == (noisy, "vectorised"):  # which torch.vmap refuses itself
        pytest.skip("torch.vmap refuses it")
    record = trial_of(clouds(), factory=adapting(change), strategy=strategy)
    assert (record.status, record.curve) == ("error", [])
    assert record.reason.startswith("Algorithm 'mine' ")
    assert words in record.reason


@pytest.mark.parametrize("algorithm", sorted(n for n, e in REGISTRY.algorithms.items() if not e.missing))
def test_every_algorithm_of_ours_passes(algorithm):
    record = trial_of(clouds(), algorithm)
    assert record.status in ("ok", "unfit"), record.reason


def test_a_policy_is_tried_on_what_its_suite_asks_for():
    """Its inputs are states, of another shape than the noise in the batch."""
    suite = pendulum(horizon=3, trajectories=4, width=4)
    learner = as_learner(maml(build_problem(suite, 0)))
    rehearse(learner, suite, suite.sample("train", 1, torch.Generator().manual_seed(0)), "maml")
