"""What makes each of these algorithms what it is: prototypes, closed forms, learnt preconditioners, peers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.api import Batch, NotApplicableError, map_tree, unroll
from metabench.engine.learner import adapt_fully, as_learner, map_tasks
from metabench.engine.problem import build_problem
from metabench.testing.toy_suites import WAYS, clouds, lines
from metabench_plugins.algorithms.cnp import cnp
from metabench_plugins.algorithms.embeddings import body_of, class_means
from metabench_plugins.algorithms.leo import leo
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.algorithms.metacurvature import metacurvature
from metabench_plugins.algorithms.nearest import nearest
from metabench_plugins.algorithms.protomaml import protomaml
from metabench_plugins.algorithms.protonet import protonet
from metabench_plugins.algorithms.r2d2 import r2d2
from metabench_plugins.algorithms.tnet import maps_of, tnet, transformed
from metabench_plugins.algorithms.unicorn import unicorn
from metabench_plugins.learn2learn.peers import l2l_metacurvature
from metabench_plugins.suites.backbones import conv_strided
from metabench_plugins.torchopt.peer import torchopt_maml

KINDS = {"lines": lines, "clouds": clouds}
GENERATOR = torch.Generator().manual_seed(1)


def images():
    """The clouds as 8x8 pictures of their own, for a small convolutional network."""
    place = torch.randn(2, 64, generator=torch.Generator().manual_seed(2))

    def sample(split, n, generator):
        tasks = clouds().sample(split, n, generator)
        return map_tree(lambda leaf: (leaf @ place).view(n, -1, 1, 8, 8) if leaf.is_floating_point() else leaf, tasks)

    return clouds()._replace(sample=sample, model=lambda: conv_strided(WAYS, filters=4), pool=None)


def problem_of(suite):
    return build_problem(suite, seed=0, dtype=torch.float64)


def tasks_of(suite, n, seed=0):
    tasks = suite.sample("train", n, torch.Generator().manual_seed(seed))
    return map_tree(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tasks)


def task_of(suite):
    return map_tree(lambda leaf: leaf[0], tasks_of(suite, 1))


def after_training(made, suite, steps=2, updates=3):
    """The predictions for some query sets after a few updates."""
    learner = as_learner(made)
    for i in range(updates):
        learner.update(tasks_of(suite, 3, seed=i), i / updates)
    tasks = tasks_of(suite, 3, seed=100)
    with torch.no_grad():
        return map_tasks(adapt_fully(learner, tasks.support, steps), lambda predict, x: predict(x), tasks.query.x)


def test_prototypes_are_the_class_means():
    features, y = torch.randn(7, 4, generator=GENERATOR), torch.tensor([2, 0, 0, 2, 2, 0, 0])
    means = class_means(features, y, 4)
    torch.testing.assert_close(means[0], features[[1, 2, 5, 6]].mean(0))
    torch.testing.assert_close(means[2], features[[0, 3, 4]].mean(0))
    assert not means[[1, 3]].any()


def test_the_body_keeps_the_weights_of_the_model():
    problem = problem_of(images())
    weights, body = problem.init(), body_of(problem)
    assert {name: value.tolist() for name, value in body.init().items()} == {
        name: value.tolist() for name, value in weights.items() if name not in problem.head
    }
    x = task_of(images()).support.x
    rebuilt = nn.functional.linear(body.apply(body.init(), x), *(weights[name] for name in problem.head))
    torch.testing.assert_close(rebuilt, problem.apply(weights, x))


@pytest.mark.parametrize("factory", [protomaml, protonet])
def test_prototypes_need_classes(factory):
    with pytest.raises(NotApplicableError, match="it is for classification"):
        factory(problem_of(lines()))


def test_a_body_needs_a_layer_before_the_head():
    linear = clouds()._replace(model=lambda: nn.Linear(2, WAYS))
    with pytest.raises(NotApplicableError, match="more than one layer"):
        protonet(problem_of(linear))


@pytest.mark.parametrize("suite", [clouds(), images()], ids=["clouds", "images"])
def test_before_its_first_step_protomaml_predicts_as_a_prototypical_network(suite):
    problem, task = problem_of(suite), task_of(suite)
    one, other = protomaml(problem), protonet(problem)
    meta = one.init()
    logits = one.inner.predict(meta, one.inner.start(meta, task.support), task.query.x)
    distances = other.inner.predict(meta, other.inner.start(meta, task.support), task.query.x)
    torch.testing.assert_close(logits.softmax(1), distances.softmax(1))
    moved = one.inner.predict(meta, unroll(one.inner, meta, task.support, 1), task.query.x)
    assert (moved - logits).abs().max() > 1e-3


def test_the_gradient_of_protomaml_goes_through_the_prototypes():
    problem, task = problem_of(clouds()), task_of(clouds())
    made = protomaml(problem, inner_steps=0)
    meta = map_tree(lambda weight: weight.requires_grad_(), made.init())
    fast = made.inner.start(meta, task.support)
    alone = {name: fast[name] for name in problem.head}
    assert all(weight.grad_fn is not None for weight in alone.values())
    grads = torch.autograd.grad(sum(weight.sum() for weight in alone.values()), list(meta.values()))
    assert any(gradient.abs().max() > 1e-6 for gradient in grads)


def test_the_inner_loop_of_protomaml_leaves_batchnorm_alone_and_need_not_be_differentiated():
    problem, task = problem_of(clouds()), task_of(clouds())
    exact, cut = (protomaml(problem, inner_lr=0.1, first_order=first_order) for first_order in (False, True))
    meta = exact.init()
    assert set(unroll(exact.inner, meta, task.support, 2)) == set(problem.init()) - {"1.weight", "1.bias"}

    def by_hand(meta):
        start = exact.inner.start(meta, task.support)
        moved = exact.inner.step(meta, start, task.support, 0)
        fast = {name: start[name] + (moved[name] - start[name]).detach() for name in start}
        return problem.loss(meta | fast, task.query)

    leaves = map_tree(lambda weight: weight.requires_grad_(), exact.init())
    expected = torch.autograd.grad(by_hand(leaves), list(leaves.values()))
    with torch.no_grad():
        seen = cut.meta_grad(meta, task, 0.0)[1]
        whole = as_learner(exact).direction(tasks_of(clouds(), 1), 0.0)[1]
    torch.testing.assert_close(list(seen.values()), list(expected))
    assert any((whole[name] - seen[name]).abs().max() > 1e-6 for name in meta)


def test_an_embedding_on_a_prototype_belongs_to_its_class():
    problem, task = problem_of(clouds()), task_of(clouds())
    made = protonet(problem)
    meta = made.init()
    shown = task.support.x[:WAYS]  # one point a class: each is its own prototype
    prototypes = made.inner.start(meta, Batch(shown, torch.arange(WAYS)))
    logits = made.inner.predict(meta, prototypes, shown)
    assert logits.argmax(1).tolist() == list(range(WAYS))
    torch.testing.assert_close(logits.diagonal(), torch.zeros(WAYS, dtype=torch.float64))


@pytest.mark.parametrize("factory", [protonet, protomaml, r2d2, nearest, unicorn, leo])
def test_permuting_the_labels_permutes_the_predictions(factory):
    problem, task = problem_of(clouds()), task_of(clouds())
    made = factory(problem)
    meta = made.init()
    order = torch.tensor([2, 0, 1])
    usual = made.inner.predict(meta, unroll(made.inner, meta, task.support, 2), task.query.x)
    renamed = Batch(task.support.x, order[task.support.y])
    moved = made.inner.predict(meta, unroll(made.inner, meta, renamed, 2), task.query.x)
    torch.testing.assert_close(moved[:, order], usual)


@pytest.mark.parametrize("factory", [protonet, r2d2, nearest, cnp])
def test_without_inner_steps_every_step_predicts_the_same(factory):
    learner, tasks = as_learner(factory(problem_of(clouds()))), tasks_of(clouds(), 2)
    predictions = [
        map_tasks(adapted, lambda predict, x: predict(x), tasks.query.x)
        for adapted in learner.adapt(tasks.support, 2)
    ]
    assert torch.equal(predictions[0], predictions[2])


def test_the_nearest_point_gives_its_target():
    support = Batch(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[7.0], [8.0], [9.0]]))
    made = nearest(problem_of(lines()))
    assert made.inner.predict({}, support, torch.tensor([[0.4], [3.5], [0.9]])).flatten().tolist() == [7.0, 9.0, 8.0]
    classes = Batch(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([2, 0]))
    one_hot = nearest(problem_of(clouds())).inner.predict({}, classes, torch.tensor([[0.1, 0.0], [0.9, 1.0]]))
    assert one_hot.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", KINDS)
def test_the_head_of_r2d2_minimises_the_ridge_loss(name):
    suite = KINDS[name]()
    problem, task = problem_of(suite), task_of(suite)
    made = r2d2(problem, ridge=0.3)
    meta = made.init()
    head = made.inner.start(meta, task.support).detach().requires_grad_()
    targets = nn.functional.one_hot(task.support.y, WAYS).double() if name == "clouds" else task.support.y
    error = made.inner.predict(meta, head, task.support.x) - targets  # scale 1 and shift 0 to begin with
    (gradient,) = torch.autograd.grad(error.square().sum() + 0.3 * head.square().sum(), head)
    assert gradient.abs().max() < 1e-10


@pytest.mark.parametrize("suite", [lines(), clouds(), images()], ids=["lines", "clouds", "images"])
@pytest.mark.parametrize("factory", [metacurvature, tnet])
def test_with_transformations_that_do_nothing_it_is_maml(factory, suite):
    problem, task = problem_of(suite), task_of(suite)
    usual, other = (make(problem, inner_lr=0.1) for make in (maml, factory))
    predictions = [
        made.inner.predict(made.init(), unroll(made.inner, made.init(), task.support, 3), task.query.x)
        for made in (usual, other)
    ]
    torch.testing.assert_close(*predictions, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("suite", [lines(), images()], ids=["lines", "images"])
@pytest.mark.parametrize("factory", [metacurvature, tnet])
def test_transformations_are_learnt_and_then_it_is_not_maml(factory, suite):
    def predictions(make):
        return after_training(make(problem_of(suite), inner_lr=0.1, outer_lr=0.01), suite)

    assert (predictions(factory) - predictions(maml)).abs().max() > 1e-3


def test_the_curvature_of_a_matrix_is_the_kronecker_product_of_its_modes():
    problem, task = problem_of(lines()), task_of(lines())
    made = metacurvature(problem, inner_lr=1.0)
    meta = made.init()
    name = "0.weight"
    outer, inner = (torch.randn(m.shape, generator=GENERATOR, dtype=m.dtype) for m in meta["curvature"][name])
    curved = meta | {"curvature": meta["curvature"] | {name: [outer, inner]}}
    moves = [
        meta["weights"][name] - made.inner.step(m, meta["weights"], task.support, 0)[name] for m in (meta, curved)
    ]
    torch.testing.assert_close(moves[1].flatten(), torch.kron(outer, inner) @ moves[0].flatten())


def test_the_inner_loop_of_a_t_net_leaves_its_transformations_alone():
    problem, task = problem_of(images()), task_of(images())
    made = tnet(problem, inner_lr=0.1)
    meta = made.init()
    maps = maps_of(transformed(problem.module()))
    assert len(maps) == 5  # four convolutions and the head
    assert set(unroll(made.inner, meta, task.support, 2)) == set(meta) - maps


@pytest.mark.parametrize("suite", [lines(), images()], ids=["lines", "images"])
def test_meta_curvature_agrees_with_learn2learn(suite):
    ours, theirs = (
        after_training(make(problem_of(suite), inner_lr=0.1, inner_steps=2, outer_lr=0.01), suite)
        for make in (metacurvature, l2l_metacurvature)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_maml_agrees_with_torchopt(name):
    suite = KINDS[name]()
    ours, theirs = (
        after_training(make(problem_of(suite), inner_lr=0.1, inner_steps=2, outer_lr=0.01), suite)
        for make in (maml, torchopt_maml)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
