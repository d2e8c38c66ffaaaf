"""What must fit the contract later, tried in small: none of it touches the engine."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from metabench.api import Algorithm, Batch, Suite, Task, grad, map_tree, sgd, unroll, value_and_grad
from metabench.engine import run_trial
from metabench.lift import lift
from metabench.problem import build_problem
from metabench.registry import Entry, Plugin, Registry
from metabench.testing import check_algorithm, check_suite
from metabench.testing.suites import SuiteCase
from metabench.testing.toys import clouds, lines
from metabench.trees import flatten
from metabench.trials import Budget, Execution, Trial

STEPS = 2


def through(problem, inner):
    """The query loss after the inner steps."""
    return lambda meta, task, progress: problem.criterion(
        lambda x: inner.predict(meta, unroll(inner, meta, task.support, STEPS), x), task.query
    )


def anil(problem, *, inner_lr: float = 0.1):
    """Raghu et al. 2020: the inner loop moves the head alone."""
    whole = sgd(problem, inner_lr)

    def step(meta, fast, support, i):
        moved = whole.step(meta, fast, support, i)
        return {name: moved[name] if name in problem.head else fast[name] for name in fast}

    inner = whole._replace(step=step)
    return Algorithm(problem.init, inner.start, step, inner.predict, through(problem, inner))


def metasgd(problem, *, inner_lr: float = 0.1):
    """Li et al. 2017: a learnt step size for every weight."""

    def init():
        return {"weights": problem.init(), "rates": map_tree(lambda w: torch.full_like(w, inner_lr), problem.init())}

    def step(meta, fast, support, i):
        slopes = grad(problem.loss)(fast, support)
        return map_tree(lambda w, rate, slope: w - rate * slope, fast, meta["rates"], slopes)

    made = Algorithm(init, lambda meta, s: meta["weights"], step, lambda m, fast, x: problem.apply(fast, x))
    return made._replace(objective=through(problem, made))


def maml_plus_plus(problem, *, inner_lr: float = 0.1):
    """Antoniou et al. 2019: rates by layer and step, a loss at every step, a cosine schedule."""

    def init():
        return {
            "weights": problem.init(),
            "rates": {n: torch.full((STEPS,), inner_lr).to(w) for n, w in problem.init().items()},
        }

    def step(meta, fast, support, i):
        slopes = grad(problem.loss)(fast, support)
        row = min(i, STEPS - 1)
        return {name: fast[name] - meta["rates"][name][row] * slopes[name] for name in fast}

    def objective(meta, task, progress):
        fast, losses = meta["weights"], []
        for i in range(STEPS):
            fast = step(meta, fast, task.support, i)
            losses.append(problem.loss(fast, task.query))
        return (1 - progress) * sum(losses) / STEPS + progress * losses[-1]

    return Algorithm(
        init, lambda meta, s: meta["weights"], step, lambda m, fast, x: problem.apply(fast, x), objective,
        schedule=lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    )  # fmt: skip


class WithContext(nn.Module):
    """A model whose input is scaled and moved by a context vector."""

    def __init__(self, model, inputs):
        super().__init__()
        self.context = nn.Parameter(torch.zeros(3))
        self.mix = nn.Linear(3, inputs)
        self.model = model

    def forward(self, x):
        return self.model(x + (1 + x) * self.mix(self.context))


def cavia(problem, *, inner_lr: float = 0.5):
    """Zintgraf et al. 2019: the inner loop moves a context vector alone, which starts at zero."""
    inputs = problem.module()[0].in_features
    wide = problem.wrap(lambda module: WithContext(module, inputs))

    def step(meta, fast, support, i):
        slope = grad(lambda context: wide.loss(meta | {"context": context}, support))(fast)
        return fast - inner_lr * slope

    made = Algorithm(
        wide.init,
        lambda meta, support: torch.zeros_like(meta["context"]),
        step,
        lambda meta, fast, x: wide.apply(meta | {"context": fast}, x),
    )
    return made._replace(objective=through(problem, made))


def imaml(problem, *, inner_lr: float = 0.1, regular: float = 2.0):
    """Rajeswaran et al. 2019: the implicit gradient, by conjugate gradients on Hessian-vector products."""

    def step(meta, fast, support, i):
        slopes = grad(problem.loss)(fast, support)
        return map_tree(lambda w, s, m: w - inner_lr * (s + regular * (w - m)), fast, slopes, meta)

    def meta_grad(meta, task, progress):
        fast = meta
        for i in range(STEPS):
            fast = step(meta, fast, task.support, i)
        loss, right = value_and_grad(problem.loss)(fast, task.query)

        def product(vector):
            slope = grad(lambda w: dot(grad(problem.loss)(w, task.support), vector))(fast)
            return map_tree(lambda v, s: v + s / regular, vector, slope)

        return loss, conjugate_gradients(product, right, 5)

    return Algorithm(
        problem.init, lambda meta, s: meta, step, lambda m, fast, x: problem.apply(fast, x), meta_grad=meta_grad
    )


def dot(one, other):
    """The inner product of two trees."""
    return sum((a * b).sum() for a, b in zip(flatten(one)[0], flatten(other)[0], strict=True))


def plus(one, factor, other):
    """one + factor * other, trees."""
    return map_tree(lambda a, b: a + factor * b, one, other)


def conjugate_gradients(product, right, steps):
    """An approximate solution of product(x) = right."""
    x = map_tree(torch.zeros_like, right)
    residual = direction = right
    square = dot(residual, residual)
    for _ in range(steps):
        image = product(direction)
        length = square / (dot(direction, image) + 1e-12)
        x = plus(x, length, direction)
        residual = plus(residual, -length, image)
        before, square = square, dot(residual, residual)
        direction = plus(residual, square / (before + 1e-12), direction)
    return x


def protomaml(problem, *, inner_lr: float = 0.1):
    """Triantafillou et al. 2020: the head starts at the prototypes of the support set."""
    if problem.pool is None:
        raise ValueError("protomaml is for classification")
    ways = problem.init()[problem.head[-1]].shape[0]
    body = problem.wrap(lambda module: module[:-1])

    def start(meta, support):
        features = body.apply(meta, support.x)
        member = (support.y[:, None] == torch.arange(ways)).to(features.dtype)
        centres = (member.T @ features) / member.sum(0)[:, None]
        return {"body": meta, "weight": 2 * centres, "bias": -centres.square().sum(1)}

    def outputs(fast, x):
        return nn.functional.linear(body.apply(fast["body"], x), fast["weight"], fast["bias"])

    def step(meta, fast, support, i):
        slopes = grad(lambda f: problem.criterion(lambda x: outputs(f, x), support))(fast)
        return map_tree(lambda w, s: w - inner_lr * s, fast, slopes)

    made = Algorithm(body.init, start, step, lambda meta, fast, x: outputs(fast, x))
    return made._replace(objective=through(problem, made))


@pytest.mark.parametrize(
    "factory", [anil, metasgd, maml_plus_plus, cavia, imaml, protomaml], ids=lambda f: f.__name__
)
def test_the_family_fits(factory):
    results = {result.check: result for result in check_algorithm(factory)}
    assert [result for result in results.values() if result.verdict == "failed"] == []
    skipped = {name for name, result in results.items() if result.verdict == "skipped"}
    assert skipped == {"other-process"} | ({"gradient-exact"} if factory is imaml else set())


def test_the_body_of_anil_does_not_move():
    problem = build_problem(clouds(), 0)
    task = map_tree(lambda leaf: leaf[0], clouds().sample("train", 1, torch.Generator()))
    weights = problem.init()
    moved = unroll(anil(problem), weights, task.support, 3)
    assert {name for name in weights if not torch.equal(moved[name], weights[name])} == set(problem.head)


def test_the_implicit_gradient_is_the_unrolled_one_at_convergence(monkeypatch):
    monkeypatch.setattr("test_contract.STEPS", 400)
    problem = build_problem(lines(), 0, dtype=torch.float64)
    task = map_tree(lambda leaf: leaf[0].double(), lines().sample("train", 1, torch.Generator()))
    algorithm = imaml(problem, inner_lr=0.1)
    weights = problem.init()

    def unrolled(meta):
        return problem.loss(unroll(algorithm, meta, task.support, 400), task.query)

    with torch.no_grad():
        exact = grad(unrolled)(weights)
        _, implicit = algorithm.meta_grad(weights, task, 0.0)
    assert math.sqrt(
        dot(map_tree(torch.sub, exact, implicit), map_tree(torch.sub, exact, implicit))
    ) < 0.05 * math.sqrt(dot(exact, exact))


HORIZON = 5


def navigation() -> Suite:
    """A point in the plane walks to a goal; the noise of its policy comes with the batch (MAML, section 5.3)."""

    def sample(split, n, generator):
        goal = torch.rand(n, 1, 2, generator=generator) - 0.5
        noise = torch.randn(n, 16, HORIZON, 2, generator=generator)
        goals = goal.expand(n, 16, 2)
        return Task(Batch(noise[:, :8], goals[:, :8]), Batch(noise[:, 8:], goals[:, 8:]))

    def roll_out(predict, batch):
        state = torch.zeros_like(batch.y)
        score, rewards = torch.zeros_like(batch.y[:, 0]), []
        for i in range(HORIZON):
            mean = predict(state)
            action = (mean + 0.1 * batch.x[:, i]).detach()
            score = score - ((action - mean) / 0.1).square().sum(1) / 2
            state = state + action.clamp(-0.1, 0.1)
            rewards.append(-(state - batch.y).norm(dim=1))
        return score, torch.stack(rewards).sum(0)

    def surrogate(predict, batch):
        score, total = roll_out(predict, batch)
        return -(score * (total - total.mean()).detach()).mean()

    return Suite(
        sample=sample,
        model=lambda: nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)),
        loss=surrogate,
        metrics=lambda predict, batch: {"return": roll_out(predict, batch)[1].mean()},
        higher_is_better=True,
    )


def shifted() -> Suite:
    """Trains on lines and is tested on parabolas."""

    def sample(split, n, generator):
        tasks = lines().sample(split, n, generator)
        if split == "train":
            return tasks
        return Task(*(Batch(batch.x, batch.y + batch.x.square()) for batch in tasks))

    return lines()._replace(sample=sample)


def svm() -> Suite:
    """A linear classifier with the hinge loss: a support vector machine trained by gradient."""

    def sample(split, n, generator):
        normal = torch.randn(n, 2, 1, generator=generator)
        x = torch.randn(n, 20, 2, generator=generator)
        y = (x @ normal).sign()
        return Task(Batch(x[:, :10], y[:, :10]), Batch(x[:, 10:], y[:, 10:]))

    return Suite(
        sample=sample,
        model=lambda: nn.Linear(2, 1),
        loss=lambda predict, batch: torch.relu(1 - batch.y * predict(batch.x)).mean(),
        metrics=lambda predict, batch: {"accuracy": (predict(batch.x).sign() == batch.y).float().mean()},
        higher_is_better=True,
    )


@pytest.mark.parametrize("suite", [navigation, shifted, svm], ids=lambda f: f.__name__)
def test_other_kinds_of_suites_fit(suite):
    results = check_suite(SuiteCase(suite(), suite.__name__, Registry({}, {}, ())))
    assert [result for result in results if result.verdict == "failed"] == []
    registry = Registry(
        {"metasgd": Entry("algorithm", "metasgd", metasgd, {}, "here")},
        {suite.__name__: Entry("suite", suite.__name__, suite, {}, "here")},
        (Plugin("here", "here", "1"),),
    )
    budget = Budget(updates=30, meta_batch_size=8, validations=2, validation_tasks=8, test_tasks=20, test_steps=2)
    trial = Trial(
        algorithm="metasgd", algorithm_parameters={}, suite=suite.__name__, suite_parameters={}, seed=0, budget=budget
    )
    record = run_trial(trial, Execution(), lambda sign: None, registry).record
    assert (record.status, record.reason) == ("ok", "")
    assert not record.tests["inductive"].transductive


def test_a_policy_learns_by_meta_training():
    suite = navigation()
    learner = lift(metasgd(build_problem(suite, 0), inner_lr=0.01))
    tasks = suite.sample("train", 40, torch.Generator())

    def mean_return():
        with torch.no_grad():
            *_, adapted = learner.adapt(tasks.support, 1)
            return float(adapted.map(suite.metrics, tasks.query)["return"].mean())

    before = mean_return()
    for i in range(60):
        learner.update(tasks, i / 60)
    assert mean_return() > before
