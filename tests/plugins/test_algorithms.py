"""What each algorithm is: gradients by name, the peer's equality, and the kit on every plugin there is."""

from __future__ import annotations

import pytest
import torch

from metabench.api import Batch
from metabench.api.trees import map_tree
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.errors import NotApplicableError
from metabench.registry.discovery import load_registry
from metabench.testing.conformance import kit_of
from metabench.testing.toy_suites import clouds, lines
from metabench_plugins.suites.navigation import navigation

REGISTRY = load_registry()


def make(name, suite, **parameters):
    return REGISTRY.algorithms[name].factory(build_problem(suite, 0, dtype=torch.float64), **parameters)


def tasks_of(suite, n, name):
    return to_device_dtype(suite.sample("train", n, random_generator(name)), "cpu", torch.float64)


def after(learner, suite, updates):
    for i in range(updates):
        learner.update(tasks_of(suite, 4, i), i / updates)
    tasks = tasks_of(suite, 4, "test")
    with torch.no_grad():
        *_, adapted = learner.adapt(tasks.support, 3)
        return torch.stack([adapted[i](tasks.query.x[i]) for i in range(4)])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REGISTRY.algorithms))
def test_every_algorithm_passes_the_kit(name, elsewhere):
    kit = kit_of(REGISTRY, name, elsewhere=elsewhere("algorithm")(name))
    assert [result for result in kit.results() if result.verdict == "failed"] == []


@pytest.mark.parametrize("suite", [lines(), clouds()])
@pytest.mark.parametrize(("ours", "theirs"), [("maml", "l2l-maml"), ("fomaml", "l2l-fomaml")])
def test_we_agree_with_learn2learn_after_30_updates(suite, ours, theirs):
    settings = {"inner_lr": 0.1, "inner_steps": 2, "outer_lr": 0.01}
    one, other = (after(as_learner(make(name, suite, **settings)), suite, 30) for name in (ours, theirs))
    assert float((one - other).abs().max()) < 1e-5


def test_first_order_is_the_query_gradient_at_the_adapted_weights():
    suite = lines()
    task = map_tree(lambda leaf: leaf[0], tasks_of(suite, 1, "fo"))
    problem = build_problem(suite, 0, dtype=torch.float64)
    algorithm = make("fomaml", suite, inner_lr=0.1, inner_steps=1)
    with torch.no_grad():
        _, direction = algorithm.meta_grad(problem.init(), task, 0.0)
    weights = {name: weight.requires_grad_() for name, weight in problem.init().items()}
    grads = torch.autograd.grad(problem.loss(weights, task.support), weights.values())
    moved = {n: (w - 0.1 * s).detach().requires_grad_() for (n, w), s in zip(weights.items(), grads)}
    expected = torch.autograd.grad(problem.loss(moved, task.query), moved.values())
    for seen, value in zip(direction.values(), expected):
        assert torch.allclose(seen, value)


def test_second_order_differs_from_first_order():
    suite = lines()
    one, other = (after(as_learner(make(name, suite, inner_lr=0.1)), suite, 5) for name in ("maml", "fomaml"))
    assert float((one - other).abs().max()) > 1e-6


def test_reptile_moves_towards_where_the_task_ends_and_stops_at_the_end():
    suite = lines()
    problem = build_problem(suite, 0, dtype=torch.float64)
    algorithm = make("reptile", suite, inner_lr=0.05, inner_steps=3)
    task = map_tree(lambda leaf: leaf[0], tasks_of(suite, 1, "reptile"))
    points = Batch(torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y]))
    module = problem.module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (module(points.x) - points.y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        _, direction = algorithm.meta_grad(problem.init(), task, 0.0)
    for name, weight in module.named_parameters():
        assert torch.allclose(problem.init()[name] - direction[name], weight)
    assert [algorithm.schedule(progress) for progress in (0.0, 0.75, 1.0)] == [1.0, 0.25, 0.0]


def test_reptile_may_keep_its_outer_step_and_adapts_in_the_test_on_batches_of_their_own():
    suite = lines()
    support = map_tree(lambda leaf: leaf[0], tasks_of(suite, 1, "reptile")).support
    settings = {"inner_lr": 0.05, "batch_size": 4}
    assert make("reptile", suite, **settings, final_share=1.0).schedule(1.0) == 1.0
    training, test = (make("reptile", suite, **settings, test_batch_size=size) for size in (0, 2))
    for algorithm, points in ((training, 4), (test, 2)):
        meta = algorithm.init()
        first = Batch(support.x[:points], support.y[:points])
        seen = algorithm.inner.step(meta, meta, support, 0)
        expected = make("maml", suite, inner_lr=0.05).inner.step(meta, meta, first, 0)
        assert all(torch.equal(seen[name], expected[name]) for name in meta)


def test_scratch_is_not_trained_and_starts_where_everybody_starts():
    algorithm = make("scratch", lines())
    learner = as_learner(algorithm)
    assert not learner.trainable
    weights = build_problem(lines(), 0, dtype=torch.float64).init()
    assert all(torch.equal(algorithm.init()[name], weight) for name, weight in weights.items())


def test_finetune_trains_the_body_on_the_pool_and_starts_from_the_initial_head():
    suite = clouds()
    learner = make("finetune", suite, train_lr=0.05)
    first = learner.update(tasks_of(suite, 16, 0), 0.0)
    for i in range(80):
        last = learner.update(tasks_of(suite, 16, i), 0.0)
    assert float(first) > 2.0  # log(12) at the start: one output for each of the pool's 12 classes
    assert float(last) < 0.7 * float(first)
    initial = build_problem(suite, 0, dtype=torch.float64).init()
    inner = learner.inner
    seen = {}
    learner.inner = inner._replace(start=lambda meta, support: seen.setdefault("start", meta))
    next(iter(learner.adapt(tasks_of(suite, 2, "s").support, 0)))
    moved = {name for name, weight in seen["start"].items() if not torch.equal(weight, initial[name])}
    assert moved == set(initial) - set(learner.problem.head)


def suite_for(name):
    """One that the algorithm is made for."""
    for suite in (lines(), clouds(), navigation(horizon=3, trajectories=2, width=4)):
        try:
            make(name, suite)
        except NotApplicableError:
            continue
        return suite
    raise AssertionError(f"{name} fits none")


@pytest.mark.parametrize("name", sorted(REGISTRY.algorithms))
def test_a_suite_shortens_the_inner_steps_after_the_first(name):
    """To nothing here, in every algorithm: one step and three are the same, and three are more where it does not."""
    suite = suite_for(name)
    tasks, found = tasks_of(suite, 2, "later"), {}
    for later_lr in (0.0, 1.0):
        learner = as_learner(make(name, suite._replace(later_lr=later_lr)))
        with torch.no_grad():
            x = tasks.query.x[0].flatten(0, -2)  # points, or steps of trajectories
            found[later_lr] = [adapted[0](x).clone() for adapted in learner.adapt(tasks.support, 3)]
    assert torch.equal(found[0.0][1], found[0.0][3])
    assert torch.equal(found[0.0][1], found[1.0][1])
    still = torch.equal(found[1.0][0], found[1.0][1])
    assert torch.equal(found[1.0][1], found[1.0][3]) == still
