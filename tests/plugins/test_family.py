"""What makes each member of the family what it is, and what it has in common with its relatives."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from metabench.api import grad, map_tree, query_loss, trajectory, unroll
from metabench.api.trees import flatten
from metabench.engine.learner import as_learner, strategy_of
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.registry.discovery import load_registry
from metabench.testing import check_algorithm
from metabench.testing.toy_suites import TOYS, clouds, lines
from metabench_plugins.algorithms.imaml import conjugate_gradients

REGISTRY = load_registry()
MAMLPP = {"last_outer_lr": 1e-3, "norm_per_step": False}
MEMBERS = {
    "anil": {"inner_lr": 0.1},
    "boil": {"inner_lr": 0.1},
    "cavia": {"inner_lr": 0.5},
    "imaml": {"inner_lr": 0.1, "inner_steps": 5, "cg_steps": 3},
    "maml++": {"inner_lr": 0.1},
    "metasgd": {"inner_lr": 0.1},
}
"""With an inner step size that suits the toys."""


def problem_of(suite):
    return build_problem(suite, 0, dtype=torch.float64)


def make(name, suite, **parameters):
    return REGISTRY.algorithms[name].factory(problem_of(suite), **parameters)


def tasks_of(suite, n, name="family"):
    return to_device_dtype(suite.sample("train", n, random_generator(name)), "cpu", torch.float64)


def task_of(suite):
    return map_tree(lambda leaf: leaf[0], tasks_of(suite, 1))


def direction(algorithm, suite, progress):
    return as_learner(algorithm).direction(tasks_of(suite, 3), progress)[1]


def assert_close(one, other, tolerance=1e-10):
    for a, b in zip(flatten(one)[0], flatten(other)[0], strict=True):
        assert float((a - b).detach().abs().max()) <= tolerance * max(1.0, float(b.detach().abs().max()))


def moved(before, after):
    return {name for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
@pytest.mark.parametrize("name", MEMBERS)
def test_training_beats_none(name, suite):
    unseen = tasks_of(suite(), 50, "unseen")
    learner = as_learner(make(name, suite(), outer_lr=0.02, **MEMBERS[name]))

    def loss():
        with torch.no_grad():
            *_, adapted = learner.adapt(unseen.support, 5)
            return float(adapted.map(suite().loss, unseen.query).mean())

    before = loss()
    for i in range(40):
        learner.update(tasks_of(suite(), 8, f"update {i}"), i / 40)
    assert loss() < 0.9 * before


def test_anil_moves_the_head_boil_the_body_and_both_learn_everything():
    suite = lines()
    problem, task, moving = problem_of(suite), task_of(suite), {}
    for name in ("anil", "boil"):
        algorithm = make(name, suite, inner_lr=0.1)
        moving[name] = moved(problem.init(), unroll(algorithm.inner, algorithm.init(), task.support, 3))
        assert all(float(gradient.abs().max()) > 1e-6 for gradient in direction(algorithm, suite, 0.0).values())
    assert moving["anil"] == set(problem.head)
    assert moving["boil"] == set(problem.init()) - set(problem.head)


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
def test_equal_rates_make_meta_sgd_maml(suite):
    settings = {"inner_lr": 0.1, "inner_steps": 2}
    seen = direction(make("metasgd", suite(), **settings), suite(), 0.0)
    assert_close(seen["weights"], direction(make("maml", suite(), **settings), suite(), 0.0))
    assert all(float(gradient.abs().max()) > 0 for gradient in seen["rates"].values())


def test_every_weight_has_a_step_size_of_its_own_in_meta_sgd():
    suite = lines()
    algorithm, task = make("metasgd", suite, inner_lr=0.1), task_of(suite)
    meta = algorithm.init()
    meta["rates"] = map_tree(lambda rate: torch.arange(rate.numel()).view(rate.shape) * 0.01, meta["rates"])
    grads = grad(problem_of(suite).loss)(meta["weights"], task.support)
    expected = map_tree(lambda w, rate, gradient: w - rate * gradient, meta["weights"], meta["rates"], grads)
    assert_close(unroll(algorithm.inner, meta, task.support, 1), expected)


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
@pytest.mark.parametrize(("progress", "relative"), [(0.0, "fomaml"), (0.5, "maml")])
def test_maml_plus_plus_with_one_step_is_first_order_maml_and_then_maml(suite, progress, relative):
    seen = make("maml++", suite(), inner_lr=0.1, inner_steps=1, first_order=0.5, **MAMLPP)
    expected = make(relative, suite(), inner_lr=0.1, inner_steps=1)
    assert_close(direction(seen, suite(), progress)["weights"], direction(expected, suite(), progress))


def test_maml_plus_plus_weighs_all_steps_alike_at_first_and_then_takes_the_last():
    suite = lines()
    algorithm = make("maml++", suite, inner_lr=0.1, inner_steps=3, multi_step=0.5, first_order=0.0)
    meta, task, problem = algorithm.init(), task_of(suite), problem_of(suite)
    _, *path = trajectory(algorithm.inner, meta, task.support, 3)
    losses = torch.stack([problem.loss(fast, task.query) for fast in path])

    def objective(progress):
        return float(algorithm.objective(meta, task, progress))

    assert objective(0.0) == pytest.approx(float(losses.mean()))
    assert objective(0.25) == pytest.approx(float(losses @ torch.tensor([1, 1, 4]).double() / 6))
    assert objective(0.499) == pytest.approx(float(losses @ torch.tensor([0.01, 0.01, 0.98]).double()))
    assert objective(0.5) == objective(1.0) == pytest.approx(float(losses[-1]))


def test_each_step_of_maml_plus_plus_has_rates_and_normalisation_of_its_own():
    suite = clouds()
    algorithm, task = make("maml++", suite, inner_lr=0.1, inner_steps=2), task_of(suite)
    meta = algorithm.init()
    assert set(meta["norms"]) == {"1.weight", "1.bias"}  # of the toy's BatchNorm
    for by_step in (meta["rates"], meta["norms"]):
        for values in by_step.values():
            values[1] = values[1] * 3 + 1
    start, first, second, third = trajectory(algorithm.inner, meta, task.support, 3)
    for name, rows in meta["norms"].items():
        assert torch.equal(start[name], rows[0])
        assert torch.equal(first[name], rows[0])
        assert torch.equal(second[name], rows[1])
        assert torch.equal(third[name], rows[1])
    grads = grad(problem_of(suite).loss)(first | {n: rows[1] for n, rows in meta["norms"].items()}, task.support)
    for name, rates in meta["rates"].items():
        assert torch.allclose(second[name], first[name] - rates[1] * grads[name])


def test_the_rates_of_maml_plus_plus_may_be_learnt_more_slowly_than_its_weights():
    suite, ways = lines(), []
    for rates_lr in (0.0, 1e-5):
        learner = as_learner(make("maml++", suite, outer_lr=1e-2, rates_lr=rates_lr))
        before = map_tree(torch.clone, learner.meta)
        learner.update(tasks_of(suite, 4), 0.0)
        step = map_tree(lambda old, new: (new - old).abs().max(), before, learner.meta)
        ways.append([max(map(float, step[part].values())) for part in ("weights", "rates")])
    assert ways == [pytest.approx([1e-2, 1e-2], rel=1e-3), pytest.approx([1e-2, 1e-5], rel=1e-3)]


def test_the_outer_rate_of_maml_plus_plus_follows_a_cosine():
    schedule = make("maml++", lines(), outer_lr=1e-3, last_outer_lr=1e-5).schedule
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.505, 0.01])


def test_the_gradient_of_maml_plus_plus_is_exact_where_no_share_is_first_order():
    factory = partial(REGISTRY.algorithms["maml++"].factory, multi_step=1.0)
    verdicts = {result.check: result.verdict for result in check_algorithm(factory)}
    assert verdicts.pop("other-process") == "skipped"  # a function that no plugin registers
    assert set(verdicts.values()) == {"passed"}


def test_maml_plus_plus_branches_on_progress_and_so_is_not_compiled():
    suite = lines()
    learner, plain = (
        as_learner(make("maml++", suite, first_order=0.5), strategy) for strategy in ("compiled", "vectorised")
    )
    tasks = tasks_of(suite, 4)
    learner.prepare(tasks)
    assert strategy_of(learner) == "vectorised"
    for progress in (0.0, 0.2, 0.9):
        assert torch.equal(learner.update(tasks, progress), plain.update(tasks, progress))
    assert_close(learner.meta, plain.meta, 0.0)


def test_the_implicit_gradient_is_the_unrolled_one_at_convergence():
    suite, gaps = lines(), []
    task, problem = task_of(suite), problem_of(suite)
    for steps in (3, 300):
        algorithm = make("imaml", suite, inner_lr=0.1, inner_steps=steps, cg_steps=30)
        weights = algorithm.init()
        with torch.no_grad():
            unrolled = grad(query_loss(problem, algorithm.inner, steps))(weights, task, 0.0)
            _, implicit = algorithm.meta_grad(weights, task, 0.0)
        gaps.append(float(norm(map_tree(torch.sub, unrolled, implicit)) / norm(unrolled)))
    assert gaps[0] > 0.01
    assert gaps[1] < 1e-6


def test_imaml_may_pull_once_after_its_last_step_and_not_in_the_test():
    suite = lines()
    task, problem = task_of(suite), problem_of(suite)
    settings = {"inner_lr": 0.1, "inner_steps": 3, "proximal": 2.0}
    code = make("imaml", suite, pull="after the last", cg_steps=0, **settings)
    start = problem.init()
    plain = unroll(make("maml", suite, inner_lr=0.1).inner, start, task.support, 3)
    assert_close(unroll(code.inner, start, task.support, 3), plain)
    pulled = map_tree(lambda w, first: w - 0.2 * (w - first), plain, start)
    with torch.no_grad():
        loss, _ = code.meta_grad(start, task, 0.0)
    assert float(loss) == pytest.approx(float(problem.loss(pulled, task.query)))
    further = make("imaml", suite, **settings).inner
    assert float(problem.loss(unroll(further, start, task.support, 3), task.support)) > float(
        problem.loss(plain, task.support)
    )


def test_much_damping_leaves_imaml_the_gradient_at_the_adapted_weights():
    suite = lines()
    task, problem = task_of(suite), problem_of(suite)
    algorithm = make("imaml", suite, inner_lr=0.1, damping=1e9)
    weights = algorithm.init()
    with torch.no_grad():
        _, implicit = algorithm.meta_grad(weights, task, 0.0)
        plain = grad(problem.loss)(unroll(algorithm.inner, weights, task.support, 16), task.query)
    assert_close(implicit, plain, 1e-6)


def norm(tree):
    return torch.cat([leaf.flatten() for leaf in flatten(tree)[0]]).norm()


def test_imaml_stays_the_nearer_to_its_start_the_stronger_the_proximal_term():
    suite, ways = lines(), []
    for proximal in (0.1, 1.0, 5.0):
        algorithm = make("imaml", suite, inner_lr=0.1, proximal=proximal)
        weights = algorithm.init()
        ways.append(norm(map_tree(torch.sub, unroll(algorithm.inner, weights, task_of(suite).support, 50), weights)))
    assert ways[0] > ways[1] > ways[2] > 0


def test_conjugate_gradients_solve_n_equations_in_n_steps_and_more_do_no_harm():
    root = torch.randn(6, 6, dtype=torch.float64, generator=random_generator("root"))
    right = torch.randn(6, dtype=torch.float64, generator=random_generator("right"))
    matrix = root @ root.T + torch.eye(6)
    for steps in (6, 12):
        solution = conjugate_gradients(lambda tree: {"x": matrix @ tree["x"]}, {"x": right}, steps)
        assert torch.allclose(matrix @ solution["x"], right)


@pytest.mark.parametrize("suite", TOYS.values(), ids=TOYS)
def test_a_context_that_starts_at_zero_is_all_that_cavia_adapts(suite):
    task, algorithm = task_of(suite()), make("cavia", suite(), context=4)
    meta = algorithm.init()
    (name,) = {name for name in meta if name.endswith("context")}
    start, after = trajectory(algorithm.inner, meta | {name: torch.ones(4).double()}, task.support, 1)
    assert moved({name: torch.zeros(4).double()}, start) == set()
    assert moved(start, after) == {name}
    learner = as_learner(algorithm)
    learner.update(tasks_of(suite(), 4), 0.0)
    assert moved(meta, learner.meta) == set(meta) - {name}


def test_cavia_scales_and_shifts_by_the_film_of_the_context_or_takes_it_as_further_inputs():
    suite, context = lines(), torch.tensor([0.5, -2.0], dtype=torch.float64)
    problem, x = problem_of(suite), torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None]

    def predicted(mode):
        meta = make("cavia", suite, context=2, layer=0, mode=mode).init() | {"0.context": context}
        return meta, make("cavia", suite, context=2, layer=0, mode=mode).inner.predict(
            meta, {"0.context": context}, x
        )

    weights = problem.init()
    hidden = x @ weights["0.weight"].T + weights["0.bias"]
    meta, seen = predicted("film")
    scale, shift = (meta["0.film.weight"] @ context + meta["0.film.bias"]).view(2, -1)
    assert_close(seen, torch.tanh(scale * hidden + shift) @ weights["2.weight"].T + weights["2.bias"])
    meta, seen = predicted("concatenate")
    wide = torch.cat([weights["0.weight"], meta["0.linear.weight"]], 1)
    inputs = torch.cat([x, context.expand(4, 2)], 1)
    expected = torch.tanh(inputs @ wide.T + weights["0.bias"]) @ weights["2.weight"].T + weights["2.bias"]
    assert_close(seen, expected)
    assert float(wide[:, 1:].abs().max()) <= 3**-0.5  # torch's default for a layer of three inputs


def test_schedules_belong_to_the_published_length_and_quick_runs_do_not_squeeze_them():
    for suite in ("sinusoid", "glyphs"):
        for recipe, last in (("quick", 1e-3), ("paper", 1e-5)):
            given = {"algos": "maml++", "suites": suite, "seeds": 1, "recipe": recipe}
            (trial,) = plan_trials(read_options(None, given), REGISTRY)
            made = make("maml++", clouds(), **trial.algorithm_parameters)
            assert made.schedule(1.0) == pytest.approx(last / 1e-3)


def test_cavia_and_boil_say_that_a_head_alone_is_not_for_them():
    suite = lines()._replace(model=lambda: torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="it has no layer -1 to modulate: there are 0 before the head"):
        make("cavia", suite)
    with pytest.raises(ValueError, match="it needs a model with a layer before the last one"):
        make("boil", suite)
