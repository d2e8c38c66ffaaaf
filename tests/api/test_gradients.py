"""Gradients: nested, under vmap and outside it, and against finite differences in float64."""

from __future__ import annotations

import torch

from metabench.api import Batch, add_scaled, grad, inner_product, sgd, support_grad, unroll, value_and_grad
from metabench.api.trees import map_tree
from metabench.engine.problem import build_problem
from metabench.engine.seeds import random_generator
from metabench.testing.toy_suites import lines


def problem():
    return build_problem(lines(), seed=0, dtype=torch.float64)


def test_nested_gradient_is_the_second_derivative():
    def cube(tree):
        return (tree["x"] ** 3).sum()

    def slope(tree):
        return grad(cube)(tree)["x"].sum()

    x = torch.tensor([1.0, 2.0])
    assert torch.equal(grad(slope)({"x": x})["x"], 6 * x)
    assert torch.equal(torch.vmap(lambda one: grad(slope)({"x": one})["x"])(x), 6 * x)


def test_no_grad_around_the_inner_gradient_makes_it_first_order():
    def through(tree):
        with torch.no_grad():
            inner = grad(lambda t: (t["x"] ** 3).sum())(tree)["x"]
        return (inner * tree["x"]).sum()

    assert torch.equal(grad(through)({"x": torch.tensor([2.0])})["x"], torch.tensor([12.0]))


def test_leaves_that_depend_on_each_other_are_held_apart():
    def inner(tree):
        return (tree["a"] * tree["b"] ** 2).sum()

    def outer(a):
        grads = grad(inner)({"a": a, "b": 3 * a})  # b**2 and 2 a b, with b apart from a
        return grads["a"].sum() + grads["b"].sum()

    def closed(a):
        return grad(lambda x: (x * a).sum())(a).sum()  # the a outside is not differentiated by the inner one

    a = torch.tensor([2.0])
    for function, expected in ((outer, 30 * a), (closed, torch.ones(1))):
        assert torch.equal(grad(function)(a), expected)
        assert torch.equal(torch.vmap(grad(function))(a[None])[0], expected)


def test_unused_leaves_have_zero_gradients():
    value, grads = value_and_grad(lambda tree: tree["a"].sum())({"a": torch.ones(2), "b": torch.ones(3)})
    assert value.item() == 2
    assert torch.equal(grads["b"], torch.zeros(3))
    assert torch.equal(grad(lambda tree: torch.tensor(1.0))({"a": torch.ones(2)})["a"], torch.zeros(2))


def test_meta_gradient_through_many_steps_equals_finite_differences():
    p = problem()
    task = map_tree(lambda leaf: leaf[0].double(), lines().sample("train", 1, random_generator("fd")))
    inner = sgd(p, lr=0.1)

    def objective(meta):
        return p.loss(unroll(inner, meta, task.support, 4), task.query)

    weights = p.init()
    with torch.no_grad():
        exact = grad(objective)(weights)
        for name, weight in weights.items():
            for index in range(weight.numel()):
                ends = []
                for sign in (1, -1):
                    moved = {key: value.clone() for key, value in weights.items()}
                    moved[name].view(-1)[index] += sign * 1e-6
                    ends.append(float(objective(moved)))
                difference = (ends[0] - ends[1]) / 2e-6
                assert abs(float(exact[name].view(-1)[index]) - difference) < 1e-6


def test_minibatches_run_through_the_support_set_and_wrap():
    from metabench.api.inner_loops import minibatch

    batch = Batch(torch.arange(5), torch.arange(5) * 10)
    assert [minibatch(batch, 2, i).x.tolist() for i in range(3)] == [[0, 1], [2, 3], [4, 0]]
    assert minibatch(batch, 0, 3) is batch
    assert minibatch(batch, 9, 1) is batch


def test_adam_inner_loop_is_torchs_adam_without_momentum():
    from metabench.api import adam

    p = problem()
    support = map_tree(lambda leaf: leaf[0].double(), lines().sample("train", 1, random_generator("adam"))).support
    inner = adam(p, lr=0.01)
    module = p.module()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.0, 0.999))
    for _ in range(6):
        optimizer.zero_grad()
        (module(support.x) - support.y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        weights = unroll(inner, p.init(), support, 6)["weights"]
    for name, weight in module.named_parameters():
        assert torch.allclose(weights[name], weight, atol=1e-10)


def test_the_gradient_of_a_step_is_of_its_own_minibatch_and_of_the_weights_that_move():
    whole = problem()._replace(step_points=2)
    weights, x = whole.init(), torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    support = Batch(x, x**2)
    part = Batch(x[[2, 3]], x[[2, 3]] ** 2)
    expected = grad(whole.loss)(weights, part)
    assert all(torch.equal(value, expected[name]) for name, value in support_grad(whole, weights, support, 1).items())
    moving = {name: weights[name] for name in whole.head}
    seen = support_grad(whole, moving, support, 1, map_tree(torch.zeros_like, moving) | weights)
    assert seen.keys() == moving.keys()
    assert all(torch.equal(value, expected[name]) for name, value in seen.items())


def test_trees_are_added_and_multiplied_over_all_leaves_by_numbers_and_tensors():
    one, other = ({"a": torch.full((2,), value), "b": torch.tensor(value)} for value in (1.0, 3.0))
    assert inner_product(one, other) == 9
    for scale in (-2.0, torch.tensor(-2.0)):
        assert all((leaf == -5).all() for leaf in add_scaled(one, other, scale).values())
