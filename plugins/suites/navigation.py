"""2D navigation: a point in the plane learns to walk to a goal that it is not told."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor

from metabench.api import Positive, Rate, Recipe, Share, Size, Suite, SuiteFactory, hookimpl
from metabench_plugins.suites.estimators import Estimator
from metabench_plugins.suites.policies import Policy, Settings, Squash
from metabench_plugins.suites.rollouts import World, policy_suite
from metabench_plugins.suites.sinusoid import uniform

NEAR = 0.01
"""How near to the goal, in both coordinates, an episode ends, where it does."""
BLIND = 0.5
"""The distance from the origin (sum of coordinates) below which a sparse reward is none."""
GOAL, START, WIND = slice(0, 2), slice(2, 4), slice(4, 6)
"""Columns of the targets, one row a trajectory."""


def navigation(
    *,
    goals: Literal["square", "corners"] = "square",
    reward: Literal["distance", "squared", "sparse"] = "distance",
    done: Literal["never", "goal"] = "never",
    wind: Rate = 0.0,
    test_wind: Rate = 0.0,
    horizon: Size = 100,
    trajectories: Size = 20,
    rounds: Size = 1,
    test_rounds: Size = 3,
    estimator: Estimator = "lvc",
    squash: Squash = "clip",
    discount: Share = 0.99,
    normalise: bool = True,
    later_lr: Rate = 0.5,
    clip_norm: Rate = 0.0,
    width: Size = 100,
    activation: Literal["relu", "tanh"] = "relu",
    initial_std: Positive = 1.0,
) -> Suite:
    """Walk from the origin to a goal in [-0.5, 0.5]^2, of which only rewards tell; up to 0.1 a step and coordinate.

    Finn et al. 2017, arXiv 1703.03400, section 5.3. The policy sees where it is; its actions are in units of the
    longest step. A support set is noise for `trajectories` of each inner step, a query set noise for as many more.
    The loss is minus the mean discounted return by step, and its derivatives are those of the estimator. A task's
    score is the undiscounted return of fresh trajectories, and `distance` is how far from the goal they end.

    Args:
        goals: `square` is [-0.5, 0.5]^2. `corners` are the four of (+-2, +-2), with starts in [-0.2, 0.2]^2 and steps
            of up to 0.2, after the code of ProMP (Rothfuss et al. 2019, arXiv 1810.06784).
        reward: Minus the distance to the goal, as in MAML's code, or its square, as in its text. `sparse` is the way
            gained towards a corner, once a point has left the middle and is nearest to it (ProMP's code).
        done: Whether an episode ends within 0.01 of the goal in both coordinates. As rewards are negative, an end
            raises the return.
        wind: How far wind carries the point each step, in longest steps, in a direction of the task: in training.
        test_wind: The same in validation and test: another one than in training is a shift of the dynamics.
        horizon: Steps of a trajectory.
        trajectories: Trajectories of an inner step, and of the query set.
        rounds: Inner steps of training that have trajectories of their own; the next one has the first again.
        test_rounds: The same in validation and test.
        estimator: `lvc`, `reinforce` (MAML's code), `dice` and `loaded-dice` judge actions by the rewards that
            follow, and differ in their second derivatives; `pathwise` differentiates the environment, exactly with
            `squash=tanh`.
        squash: How an action is held to the longest step: cut off, or by tanh.
        discount: What a reward counts one step later.
        normalise: Divide advantages by their deviation, as usual; `pathwise` has none.
        later_lr: Share of `inner_lr` that inner steps after the first have. MAML's is halved, for all of them here.
        clip_norm: Norm that longer outer directions are cut to; 0 leaves them as they are.
        width: Units of each of the policy's two hidden layers.
        activation: After each hidden layer; papers have 100 units with relu, or 64 with tanh.
        initial_std: Deviation of actions before training, in longest steps; it is learnt.
    """
    corners = goals == "corners"
    if reward == "sparse" and not corners:
        raise ValueError("reward=sparse needs goals=corners")
    longest = 0.2 if corners else 0.1

    def draw(split: str, n: int, count: int, generator: Generator) -> Tensor:
        goal = uniform((n, 1, 2), -0.5, 0.5, generator)
        goal = 2 * goal.sign() if corners else goal
        start = uniform((n, count, 2), -0.2, 0.2, generator) if corners else torch.zeros(n, count, 2)
        turn = uniform((n, 1, 1), 0, 2 * torch.pi, generator)
        blown = longest * (wind if split == "train" else test_wind) * torch.cat([turn.cos(), turn.sin()], -1)
        return torch.cat([goal.expand(n, count, 2), start, blown.expand(n, count, 2)], -1)

    def move(state: Tensor, action: Tensor, y: Tensor) -> Tensor:
        moved = torch.add(state, action, alpha=longest)
        return moved + y[:, WIND] if wind or test_wind else moved

    def rewards(states: Tensor, actions: Tensor, y: Tensor) -> Tensor:
        square = (states - y[..., GOAL]).square().sum(-1)
        if reward == "squared":
            return -square[:, 1:]
        distance = root(square)
        if reward == "distance":
            return -distance[:, 1:]
        here = states[:, 1:]
        sees = (here.abs().sum(-1) >= BLIND) & (here * y[..., GOAL] > 0).all(-1)
        return torch.where(sees, distance[:, :-1] - distance[:, 1:], 0.0)

    world = World(
        draw=draw,
        start=lambda y: y[:, START],
        move=move,
        reward=rewards,
        metrics=lambda state, y: {"distance": root((state - y[:, GOAL]).square().sum(-1))},
        facts=2,
        observations=2,
        actions=2,
        done=(lambda state, y: ((state - y[..., GOAL]).abs() < NEAR).all(-1)) if done == "goal" else None,
    )
    settings = Settings(
        horizon, trajectories, rounds, test_rounds, estimator, squash, discount, normalise, later_lr, clip_norm
    )
    model = partial(Policy, world.sizes, width, activation, initial_std)
    suite = policy_suite(world, settings, model, {"quick": QUICK, "paper": PAPER})
    return suite._replace(distinct_tasks=4) if corners and not wind and not test_wind else suite


def root(square: Tensor) -> Tensor:
    """The square root, but for its derivative at zero."""
    return (square + 1e-12).sqrt()


SHARED = {"inner_lr": 0.1, "inner_steps": 1, "outer_lr": 1e-2, "train_lr": 1e-2}
BUDGET = {"meta_batch_size": 20, "test_steps": 3, "test_tasks": 600}
PAPER = Recipe(
    source=(
        "Finn et al. 2017, arXiv 1703.03400, section 5.3 and appendix A.2: an inner step of 0.1, 20 trajectories, "
        "20 tasks an update, 500 updates, three steps at test, of 0.05 after the first (`later_lr`). Policy, rewards "
        "and discount from the authors' code, which runs 100 updates of 40 tasks with steps of 0.5. Outer loop: "
        "Adam, as in ProMP's code, where MAML has TRPO; its rate is ours. Surrogate: lvc, where MAML has reinforce"
    ),
    budget={"updates": 500, **BUDGET, "validations": 5, "validation_tasks": 40},
    algorithms={"reptile": {"inner_steps": 3}, "oracle": {"test_steps": 0}},
    shared=SHARED,
)
QUICK = Recipe(
    source=f"{PAPER.source}; fewer updates",
    budget={"updates": 100, **BUDGET, "validations": 3, "validation_tasks": 40},
    algorithms=PAPER.algorithms,
    shared=SHARED,
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"navigation": navigation}
