"""Policies: what their estimators are worth, and the rules of the plane that they walk in."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from metabench.api import Batch, grad, map_tree, query_loss, sgd, trajectory
from metabench.engine.problem import build_problem
from metabench.errors import UserError
from metabench.testing import check_suite
from metabench.testing.cases import Case
from metabench.testing.suite_task_checks import SuiteCase
from metabench.testing.training_checks import gradient_exact
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.suites.estimators import advantages
from metabench_plugins.suites.navigation import GOAL, navigation

ESTIMATORS = ("lvc", "reinforce", "dice", "loaded-dice", "pathwise")
small = partial(navigation, horizon=4, trajectories=8, width=8, activation="tanh")


def problem_of(suite):
    return build_problem(suite, 0, dtype=torch.float64)


def task_of(suite, split="train", seed=0):
    tasks = suite.sample(split, 1, torch.Generator().manual_seed(seed))
    return map_tree(lambda leaf: leaf[0].double(), tasks)


@pytest.mark.parametrize(
    "parameters",
    [
        *({"estimator": name} for name in ESTIMATORS),
        {"goals": "corners", "reward": "sparse", "horizon": 15},
        {"done": "goal", "reward": "squared", "test_wind": 0.5},
    ],
    ids=str,
)
def test_the_kit_holds(parameters, registry):
    results = check_suite(SuiteCase(small(**parameters), "navigation", registry))
    assert {result.check for result in results if result.verdict != "passed"} <= {"other-process"}


def test_pathwise_gradients_are_exact_through_inner_steps():
    suite = small(estimator="pathwise", squash="tanh", rounds=2)
    gradient_exact(Case(suite, partial(maml, inner_lr=0.5, inner_steps=2)))
    problem, task = problem_of(suite), task_of(suite)
    objective = query_loss(problem, sgd(problem, 0.5), 2)
    weights = problem.init()
    gradient = grad(objective)(weights, task, 0.0)["linear1.weight"]
    way = torch.zeros_like(gradient)
    way[0, 0] = 1e-6
    name = "linear1.weight"
    with torch.no_grad():
        above, below = (objective({**weights, name: weights[name] + each}, task, 0.0) for each in (way, -way))
    assert float(gradient[0, 0].detach()) == pytest.approx(float(above - below) / 2e-6, rel=1e-6)


def derivatives(estimator):
    """Of the loss: its gradient at the initial weights, and the Hessian times a random direction."""
    suite = small(trajectories=10_000, estimator=estimator, squash="tanh", discount=1.0, normalise=False, width=3)
    problem, batch = problem_of(suite), task_of(suite).support
    torch.manual_seed(0)
    along = map_tree(torch.randn_like, problem.init())
    gradient, product = torch.func.vjp(lambda weights: grad(problem.loss)(weights, batch), problem.init())
    return [torch.cat([leaf.flatten() for leaf in tree.values()]) for tree in (gradient, product(along)[0])]


def test_estimators_agree_on_the_gradient_and_not_on_its_derivative():
    """The largest error of the derivative is that of MAML's code; dice and loaded-dice have none but noise."""
    gradient, product = derivatives("pathwise")
    errors = {}
    for estimator in ESTIMATORS[:-1]:
        found, along = derivatives(estimator)
        assert float((found - gradient).norm() / gradient.norm()) < 0.1
        errors[estimator] = float((along - product).norm() / product.norm())
    assert errors["loaded-dice"] < errors["dice"] < errors["lvc"] < errors["reinforce"]
    assert errors["loaded-dice"] < 0.2


def test_each_inner_step_has_trajectories_of_its_own():
    suite = small(rounds=2)
    problem, support = problem_of(suite), task_of(suite).support
    other = Batch(torch.cat([support.x[:8], -support.x[8:]]), support.y)
    inner = sgd(problem, 0.5)
    paths = [list(trajectory(inner, problem.init(), batch, 2)) for batch in (support, other)]
    same = [torch.equal(one["head.weight"], two["head.weight"]) for one, two in zip(*paths)]
    assert same == [True, True, False]


def test_the_baseline_leaves_nothing_of_what_is_linear_in_its_features():
    states = torch.randn(8, 30, 2, dtype=torch.float64)
    time = torch.arange(30.0, dtype=torch.float64) / 100
    alive = torch.ones(8, 30, dtype=torch.float64)
    rewards = 1 + time**2 + states[..., 0].square()
    found = advantages(states, rewards, alive, 0.0, normalise=False)
    assert float(found.advantages.abs().max()) < 1e-3 * float(rewards.std())


def test_what_lies_behind_an_end_does_not_count():
    """A policy that stays where it is, on a goal half of a step away."""
    returns = {}
    for done in ("never", "goal"):
        suite = small(done=done)
        batch = task_of(suite).query
        batch = Batch(0 * batch.x, batch.y.clone().index_fill_(1, torch.arange(2), 0.005))
        found = suite.metrics(lambda x: x.new_zeros(len(x), 4), batch)
        returns[done] = float(found["return"])
        assert float(found["distance"]) == pytest.approx(0.005 * 2**0.5, rel=1e-4)
    assert returns["never"] == pytest.approx(4 * returns["goal"])


def test_wind_blows_where_it_is_asked_for():
    suite = small(test_wind=1.0)
    drift = {}
    for split in ("train", "test"):
        batch = task_of(suite, split).query
        found = suite.metrics(lambda x: x.new_zeros(len(x), 4), Batch(0 * batch.x, batch.y * 1.0))
        drift[split] = float(found["distance"])
        still = float(batch.y[0, GOAL].norm())
        assert (abs(drift[split] - still) < 1e-9) == (split == "train")


def test_a_sparse_reward_pays_the_way_towards_the_right_corner_alone():
    suite = navigation(goals="corners", reward="sparse", horizon=10, trajectories=4)
    batch = task_of(suite).query
    corner = batch.y[0, GOAL].sign()

    def walk(direction):
        return lambda x: torch.cat([direction.expand(len(x), 2), x.new_full((len(x), 2), -50.0)], 1)

    assert float(suite.metrics(walk(corner), batch)["return"]) > 1
    assert float(suite.metrics(walk(-corner), batch)["return"]) == 0


@pytest.mark.parametrize(("name", "value"), [("horizon", 0), ("estimator", "trpo"), ("discount", 1.5)])
def test_parameters_that_cannot_be_are_one_line(name, value, registry):
    with pytest.raises(UserError, match=f"'{name}' of suite 'navigation' must be") as caught:
        registry.get("suite", "navigation").resolve({name: value})
    assert "\n" not in str(caught.value)
