"""Whether predictions depend on the other query points: the label is right whatever hides it, for the whole trial."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metabench.api import Batch, InnerLoop, Task
from metabench.engine.dependence import depends_on_batch
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Entry, load_registry
from metabench.testing.toy_suites import clouds, lines
from tests import builders

REGISTRY = load_registry()


class Attends(nn.Module):
    """Points look at each other."""

    def forward(self, x):
        return x + torch.softmax(x @ x.T, 1) @ x


class Position(nn.Module):
    """A point's output depends on where in the batch it stands."""

    def forward(self, x):
        return x + torch.arange(len(x), dtype=x.dtype)[:, None]


LAYERS = {
    "batch norm": (lambda: nn.BatchNorm1d(4, track_running_stats=False), True),
    "attention": (Attends, True),
    "position": (Position, True),
    "layer norm": (lambda: nn.LayerNorm(4), False),
    "frozen statistics": (lambda: nn.BatchNorm1d(4).eval(), False),
    "none": (nn.Identity, False),
}


def model(layer, zero, inputs):
    """A model whose last layer starts near zero, behind a layer that may let points see each other."""
    first = (
        nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 4)) if inputs == "tokens" else nn.Linear(2, 4)
    )
    head = nn.Linear(4, 3)
    nn.init.normal_(head.weight, std=zero)
    nn.init.zeros_(head.bias)
    return nn.Sequential(first, LAYERS[layer][0](), nn.Tanh(), head)


def suite_of(layer, zero=0.0, inputs="floats", queries=9):
    def sample(split, n, generator):
        support, query = clouds().sample(split, n, generator)
        if inputs == "tokens":
            support, query = (Batch((b.x.abs() * 2).long().clamp(max=8), b.y) for b in (support, query))
        return Task(support, Batch(query.x[:, :queries], query.y[:, :queries]))

    def metrics(predict, batch):
        outputs = predict(batch.x)
        return {"accuracy": (outputs.argmax(-1) == batch.y).to(outputs.dtype).mean()}

    return clouds()._replace(sample=sample, metrics=metrics, model=lambda: model(layer, zero, inputs))


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(LAYERS)),
    st.sampled_from([0.0, 1e-4, 1.0]),
    st.sampled_from(["floats", "tokens"]),
    st.sampled_from([1, 2, 9]),
)
def test_dependence_is_seen_behind_any_last_layer_and_on_any_input(layer, zero, inputs, queries):
    suite = suite_of(layer, zero, inputs, queries)
    learner = as_learner(REGISTRY.algorithms["scratch"].factory(build_problem(suite, 0), inner_lr=0.5))
    block = suite.sample("test", 3, random_generator("t"))
    assert depends_on_batch(suite, learner, block, 2) == LAYERS[layer][1]


def trial_of(suite, algorithm="scratch", protocol="both", budget=None, **parameters):
    registry = REGISTRY._replace(suites={"here": Entry("suite", "here", lambda: suite, {}, "here")})
    budget = budget or Budget(
        updates=4, meta_batch_size=4, validations=2, validation_tasks=8, test_tasks=8, test_steps=2
    )
    asked = builders.trial(algorithm, "here", 0, budget=budget, protocol=protocol, algorithm_parameters=parameters)
    return run_trial(asked, Execution(), lambda sign: None, registry)


@pytest.mark.parametrize("zero", [0.0, 1e-4])
@pytest.mark.parametrize("algorithm", ["scratch", "maml", "reptile"])
def test_a_layer_of_zeros_hides_nothing_from_a_trial(zero, algorithm):
    record = trial_of(suite_of("batch norm", zero), algorithm, inner_lr=0.5).record
    assert {name: test.transductive for name, test in record.tests.items()} == {
        "transductive": True,
        "inductive": False,
    }


def test_a_validation_curve_is_of_one_protocol():
    """The curve under `inductive` is what the inductive prediction of every point gives, from the first point on."""
    suite = suite_of("batch norm", 0.0)
    asked = []

    def metrics(predict, batch):
        def alone(x):
            outputs = predict(x)
            with torch.no_grad():
                asked.append(not torch.allclose(outputs[:1], predict(x[:1]), atol=1e-5))
            return outputs

        return clouds().metrics(alone, batch)

    budget = Budget(updates=4, meta_batch_size=4, validations=2, validation_tasks=8, test_tasks=8, test_steps=2)
    inductive = trial_of(suite, "maml", "inductive", budget, inner_lr=0.5)
    both = trial_of(suite, "maml", "both", budget, inner_lr=0.5)
    assert list(inductive.record.tests) == ["inductive"]
    assert len(inductive.record.curve) == 3
    assert inductive.record.tests["inductive"].transductive is False
    if inductive.record.selected_update == both.record.selected_update:
        assert inductive.scores["inductive"] == both.scores["inductive"]


def test_a_recurrent_model_is_scored_under_both_protocols():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.norm, self.head = nn.GRU(1, 4, batch_first=True), Norm(), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.norm(self.body(x[..., None])[0][:, -1]))

    class Norm(nn.BatchNorm1d):
        def __init__(self):
            super().__init__(4, track_running_stats=False)

    record = trial_of(clouds()._replace(model=Recurrent), "maml").record
    assert record.status == "ok", record.reason
    assert set(record.tests) == {"transductive", "inductive"}


BUDGET = Budget(updates=4, meta_batch_size=2, validations=2, validation_tasks=8, test_tasks=8, test_steps=4)


def spoiling(bad):
    """scratch on lines, NaN from inner step 3 on in tasks and at updates that `bad` picks."""
    maml = REGISTRY.algorithms["maml"].factory
    state = {"update": 0}

    def factory(problem):
        made = maml(problem)

        def predict(meta, fast, x):
            outputs = made.inner.predict(meta, fast["w"], x)
            return torch.where(fast["bad"], torch.nan, outputs)

        def start(meta, support):
            return {"w": meta, "bad": torch.zeros((), dtype=torch.bool)}

        def step(meta, fast, support, i):
            spoilt = bad(meta, support) & (i >= 2)
            return {"w": made.inner.step(meta, fast["w"], support, i), "bad": fast["bad"] | spoilt}

        def objective(meta, task, progress):
            return problem.loss(made.inner.step(meta, meta, task.support, 0), task.query)

        return made._replace(inner=InnerLoop(start, step, predict), objective=objective)

    assert state
    return factory


def trial_with(factory, suite, budget=BUDGET):
    registry = REGISTRY._replace(
        algorithms={"a": Entry("algorithm", "a", factory, {}, "here")},
        suites={"here": Entry("suite", "here", lambda: suite, {}, "here")},
    )
    return run_trial(builders.trial("a", "here", 0, budget=budget), Execution(), lambda sign: None, registry).record


def initial_weight(suite):
    return next(iter(build_problem(suite, 0).init().values()))


@pytest.mark.parametrize("suite", [lines(), clouds()], ids=["mse", "accuracy"])
def test_a_validation_that_is_not_finite_does_not_cost_the_state_before_it(suite):
    """NaN after training has moved the weights: the initial state is finite, and is what is tested."""
    first = initial_weight(suite)
    factory = spoiling(lambda meta, support: (next(iter(meta.values())) != first).any())
    record = trial_with(factory, suite)
    assert record.status == "ok", record.reason
    assert (record.selection, record.selected_update) == ("best on validation", 0)
    assert [point.update for point in record.curve] == [0]
    metric = record.metric
    assert record.provenance.notice == (
        "a validation score was not finite, and was skipped: at update 2 "
        f"{metric} is not finite after 4 inner steps; finite up to 2 of 4; 8 of 8 tasks (and 1 more)"
    )


def test_a_trial_that_is_finite_nowhere_says_how_far_it_was():
    factory = spoiling(lambda meta, support: support.x.sum() > support.x.sum() - 1)
    record = trial_with(factory, lines())
    assert record.status == "diverged"
    assert record.reason == (
        "no validation score was finite: at update 4 mse is not finite after 4 inner steps; finite up to 2 of 4; "
        "8 of 8 tasks"
    )


def test_the_test_says_in_how_many_tasks():
    few = float(lines().sample("test", 50, random_generator("here", "test", 0)).support.x.sum((1, 2))[:8].max())
    factory = spoiling(lambda meta, support: support.x.sum() >= few - 1e-4)
    budget = Budget(updates=2, meta_batch_size=2, validations=0, test_tasks=8, test_steps=4)
    record = trial_with(factory, lines(), budget)
    assert record.status == "diverged"
    assert record.reason == "at the test mse is not finite after 4 inner steps; finite up to 2 of 4; 1 of 8 tasks"


def test_an_accuracy_of_outputs_that_are_no_numbers_is_none():
    """argmax of NaN is the first class: without a look at the outputs a third of the points would be right."""
    factory = spoiling(lambda meta, support: support.x.sum() > support.x.sum() - 1)
    assert trial_with(factory, clouds()).status == "diverged"
    assert F.one_hot(torch.full((1, 3), torch.nan).argmax(-1), 3).tolist() == [[1, 0, 0]]
