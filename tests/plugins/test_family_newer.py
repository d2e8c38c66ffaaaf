"""What makes each of the newer members what it is: learnt updates, shared heads, codes, radii, differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.api import Acting, Batch, NotApplicableError, grad, map_tree, unroll
from metabench.api.trees import flatten
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.testing.toy_suites import TOYS, WAYS, clouds, lines
from metabench_plugins.algorithms.alfa import alfa
from metabench_plugins.algorithms.bmaml import bmaml
from metabench_plugins.algorithms.cnp import cnp
from metabench_plugins.algorithms.esmaml import esmaml
from metabench_plugins.algorithms.hfmaml import hfmaml
from metabench_plugins.algorithms.incontext import incontext
from metabench_plugins.algorithms.l2f import l2f
from metabench_plugins.algorithms.leo import leo
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.algorithms.nearest import nearest
from metabench_plugins.algorithms.networks import draw_layers, means, run
from metabench_plugins.algorithms.sharpmaml import sharpmaml
from metabench_plugins.algorithms.unicorn import unicorn


def given(suite):
    """Its problem and a task."""
    tasks = to_device_dtype(suite.sample("train", 1, random_generator("newer")), "cpu", torch.float64)
    return build_problem(suite, 0, dtype=torch.float64), map_tree(lambda leaf: leaf[0], tasks)


def direction(made, task, progress=0.0):
    """Of the first update, on one task."""
    with torch.no_grad():
        if made.objective is not None:
            return grad(made.objective)(made.init(), task, progress)
        return made.meta_grad(made.init(), task, progress)[1]


def flat(tree):
    return torch.cat([leaf.reshape(-1) for leaf in flatten(tree)[0]])


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
def test_with_its_network_at_zero_alfa_is_maml_but_for_batchnorm(suite):
    problem, task = given(suite())
    made = alfa(problem, inner_lr=0.1, inner_steps=2, decay=0.0)
    meta = made.init()
    still = {"1.weight", "1.bias"} & set(meta["weights"]) if problem.ways else set()
    usual = maml(problem, inner_lr=0.1)
    seen, fast = unroll(made.inner, meta, task.support, 1), unroll(usual.inner, meta["weights"], task.support, 1)
    assert set(seen) == set(fast) - still
    for name, value in seen.items():
        torch.testing.assert_close(value, fast[name])
    assert all(flat(direction(made, task)[part]).abs().max() > 0 for part in ("network", "rates"))
    if not still:
        expected = direction(maml(problem, inner_lr=0.1, inner_steps=2), task)
        torch.testing.assert_close(direction(made, task)["weights"], expected)


def test_the_network_of_alfa_sets_the_step_and_the_decay_of_each_tensor():
    problem, task = given(lines())
    made = alfa(problem, inner_lr=0.1, decay=0.5)
    meta, count = made.init(), len(problem.init())
    meta["network"][-1][1] = torch.tensor([1.0] * count + [2.0] * count).double()  # steps doubled, decays too
    start = made.inner.start(meta, task.support)
    grads = grad(problem.loss)(start, task.support)
    expected = map_tree(lambda w, g: (1 - 0.1 * 0.5 * 2) * w - 2 * 0.1 * g, start, grads)
    torch.testing.assert_close(made.inner.step(meta, start, task.support, 0), expected)


def test_l2f_shrinks_each_tensor_by_a_share_that_its_task_sets_and_without_it_is_maml():
    problem, task = given(lines())
    made, weights = l2f(problem, inner_lr=0.1), problem.init()
    meta = made.init()
    other = Batch(task.query.x, task.query.y)
    shares = []
    for support in (task.support, other):
        kept = map_tree(lambda a, b: a / b, made.inner.start(meta, support), weights)
        assert all((share - share.flatten()[0]).abs().max() < 1e-12 for share in kept.values())
        shares.append(torch.stack([share.flatten()[0] for share in kept.values()]))
        assert ((shares[-1] > 0) & (shares[-1] < 1)).all()
    assert (shares[0] - shares[1]).abs().max() > 1e-6
    meta["attenuator"][-1] = [0 * meta["attenuator"][-1][0], torch.full_like(meta["attenuator"][-1][1], 60.0)]
    usual = maml(problem, inner_lr=0.1)
    seen = unroll(made.inner, meta, task.support, 3)
    torch.testing.assert_close(seen, unroll(usual.inner, weights, task.support, 3))


@pytest.mark.parametrize(("factory", "key"), [(alfa, "network"), (l2f, "attenuator")])
def test_the_outer_gradient_does_not_go_through_the_means_of_gradients_that_are_read(factory, key):
    problem, task = given(lines())
    made, weights = factory(problem, inner_lr=0.1), problem.init()
    meta, grads = made.init(), means(grad(problem.loss)(weights, task.support))
    width = len(meta[key][0][1])
    layers = draw_layers((width,) * 3, random_generator("layers"), grads)
    layers[0][0][:, : width - len(grads)] = 0  # of weights, which ALFA reads too, nothing is read
    output = run(layers, nn.functional.pad(grads, (width - len(grads), 0)))
    constant = [[torch.zeros_like(leaf) for leaf in layer] for layer in layers]
    constant[-1][1] = output
    seen, expected = (made.meta_grad(meta | {key: each}, task, 0.0)[1]["weights"] for each in (layers, constant))
    torch.testing.assert_close(seen, expected)


def test_the_first_step_of_unicorn_moves_the_head_alone_and_the_second_the_body_too():
    problem, task = given(clouds())
    made = unicorn(problem, inner_lr=0.1)
    meta = made.init()
    first, second = (unroll(made.inner, meta, task.support, steps) for steps in (1, 2))
    for name, body in meta["body"].items():
        torch.testing.assert_close(first[name], body)
    assert any((second[name] - body).abs().max() > 1e-6 for name, body in meta["body"].items())


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
@pytest.mark.parametrize("factory", [cnp, incontext])
def test_what_reads_its_support_set_does_so_in_any_order(factory, suite):
    problem, task = given(suite())
    made = factory(problem, width=8)
    meta, inner = made.init(), made.inner
    order = torch.randperm(len(task.support.x), generator=random_generator("order"))
    mixed = Batch(task.support.x[order], task.support.y[order])
    codes = [inner.start(meta, support) for support in (task.support, mixed, task.query)]
    same, again, other = (inner.predict(meta, code, task.query.x) for code in codes)
    torch.testing.assert_close(same, again)
    assert (same - other).abs().max() > 1e-6
    assert inner.step(meta, codes[0], task.support, 0) is codes[0]
    if not problem.ways:  # without BatchNorm no query point sees another
        torch.testing.assert_close(inner.predict(meta, codes[0], task.query.x[:1]), same[:1])


@pytest.mark.parametrize("factory", [cnp, incontext, nearest])
def test_what_reads_points_refuses_policies_in_one_line(factory):
    problem, _ = given(lines())
    acting = Acting(collect=lambda predict, batch: batch, divergence=lambda one, other: one.mean())
    with pytest.raises(NotApplicableError, match="it reads points and their targets"):
        factory(problem._replace(acting=acting))


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
def test_one_particle_is_maml_and_several_keep_apart_and_predict_by_their_mean(suite):
    problem, task = given(suite())
    settings = {"inner_lr": 0.1, "inner_steps": 2}
    (seen,) = direction(bmaml(problem, **settings, particles=1), task)
    torch.testing.assert_close(seen, direction(maml(problem, **settings), task))

    def after(repulsion):
        made = bmaml(problem, inner_lr=0.1, particles=3, repulsion=repulsion)
        meta = made.init()
        fast = unroll(made.inner, meta, task.support, 5)
        places = torch.stack([flat(each) for each in fast])
        return made.inner.predict(meta, fast, task.query.x), fast, (places[:, None] - places).norm(dim=2).sum()

    outputs, fast, apart = after(10.0)
    assert apart > after(0.0)[2]
    each = torch.stack([problem.apply(weights, task.query.x) for weights in fast])
    mean = each.softmax(-1).mean(0).log() if problem.ways else each.mean(0)
    torch.testing.assert_close(outputs, mean)


@pytest.mark.parametrize("model", ["body and head", "head"])
def test_leo_moves_the_codes_alone_and_a_decoder_makes_the_head_of_them(model):
    suite = clouds() if model == "body and head" else clouds()._replace(model=lambda: nn.Linear(2, WAYS))
    problem, task = given(suite)
    made = leo(problem, latents=4)
    meta = made.init()
    start, code = (unroll(made.inner, meta, task.support, steps) for steps in (0, 2))
    assert code.shape == (WAYS, 4)
    assert (code - start).abs().max() > 1e-6
    head = run(meta["decoder"], code)
    x = task.query.x
    assert not made.inner.predict(map_tree(torch.zeros_like, meta) | {"body": meta["body"]}, code, x).any()
    if model == "head":
        torch.testing.assert_close(made.inner.predict(meta, code, x), x @ head.T)


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
def test_with_radii_of_zero_sharp_maml_is_maml_and_with_others_it_looks_uphill(suite):
    problem, task = given(suite())
    settings = {"inner_lr": 0.1, "inner_steps": 2}
    usual = direction(maml(problem, **settings), task)
    torch.testing.assert_close(direction(sharpmaml(problem, **settings, lower=0.0, upper=0.0), task), usual)
    for radii in ({"lower": 0.05, "upper": 0.0}, {"lower": 0.0, "upper": 0.05}):
        sharp = direction(sharpmaml(problem, **settings, **radii), task)
        assert (flat(sharp) - flat(usual)).abs().max() > 1e-4
    weights = problem.init()
    first = grad(problem.loss)(weights, task.support)
    climbed = map_tree(lambda w, g: w + 0.05 * g / flat(first).norm(), weights, first)
    expected = map_tree(lambda w, g: w - 0.1 * g, weights, grad(problem.loss)(climbed, task.support))
    seen = sharpmaml(problem, **settings, lower=0.05).inner.step(weights, weights, task.support, 0)
    torch.testing.assert_close(seen, expected)


def test_the_direction_of_hf_maml_tends_to_that_of_maml_as_its_radius_shrinks():
    problem, task = given(lines())
    settings = {"inner_lr": 0.1, "inner_steps": 3}
    usual = flat(direction(maml(problem, **settings), task))
    gaps = [
        float((flat(direction(hfmaml(problem, **settings, radius=radius), task)) - usual).norm() / usual.norm())
        for radius in (0.1, 0.01, 0.001)
    ]
    assert gaps[0] > 50 * gaps[1] > 50 * 50 * gaps[2] > 0  # central differences: the error falls by the square
    assert gaps[2] < 1e-6


def test_many_directions_lead_es_maml_where_maml_goes_and_each_update_has_its_own():
    problem, task = given(lines())
    settings = {"inner_lr": 0.1, "inner_steps": 1}
    usual = flat(direction(maml(problem, **settings), task))
    many = flat(direction(esmaml(problem, **settings, directions=150, sigma=0.01), task))
    assert float(torch.nn.functional.cosine_similarity(many, usual, dim=0)) > 0.8  # 0.92 is expected
    few = esmaml(problem, **settings, directions=2)
    one, again, next_one = (flat(direction(few, task, progress)) for progress in (0.5, 0.5, 0.501))
    assert torch.equal(one, again)
    assert (one - next_one).abs().max() > 1e-6
