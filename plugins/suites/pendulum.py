"""A pendulum to swing up, of another mass and length in each task."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor

from metabench.api import Positive, Rate, Recipe, Share, Size, Suite, SuiteFactory, hookimpl
from metabench_plugins.suites.estimators import Estimator
from metabench_plugins.suites.navigation import SHARED
from metabench_plugins.suites.policies import Policy, Settings, Squash
from metabench_plugins.suites.rollouts import World, policy_suite
from metabench_plugins.suites.sinusoid import uniform

GRAVITY, SECONDS, TORQUE, FASTEST = 10.0, 0.05, 2.0, 8.0


def pendulum(
    *,
    lightest: Positive = 0.5,
    heaviest: Positive = 1.5,
    shortest: Positive = 0.5,
    longest: Positive = 1.5,
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
    width: Size = 64,
    activation: Literal["relu", "tanh"] = "tanh",
    initial_std: Positive = 1.0,
) -> Suite:
    """Swing a pendulum up and hold it, by a torque of up to 2; its mass and length are those of the task, and unseen.

    Gymnasium's Pendulum-v1 in torch: steps of 0.05 s, reward minus (angle^2 + 0.1 speed^2 + 0.001 torque^2), starts
    anywhere at a speed of up to 1. The policy sees cosine and sine of the angle, and the speed. `angle` is how far
    from upright trajectories end, in radians. What the other parameters are: see `navigation`.

    Args:
        lightest: Lower end of the range of masses.
        heaviest: Upper end of that range.
        shortest: Lower end of the range of lengths.
        longest: Upper end of that range.
        horizon: Steps of a trajectory.
        trajectories: Trajectories of an inner step, and of the query set.
        rounds: Inner steps of training that have trajectories of their own; the next one has the first again.
        test_rounds: The same in validation and test.
        estimator: Of the derivatives of the return.
        squash: How an action is held to the largest torque: cut off, or by tanh.
        discount: What a reward counts one step later.
        normalise: Divide advantages by their deviation, as usual; `pathwise` has none.
        later_lr: Share of `inner_lr` that inner steps after the first have. MAML's is halved, for all of them here.
        clip_norm: Norm that longer outer directions are cut to; 0 leaves them as they are.
        width: Units of each of the policy's two hidden layers.
        activation: After each hidden layer.
        initial_std: Deviation of actions before training, in largest torques; it is learnt.
    """
    if lightest > heaviest or shortest > longest:
        raise ValueError("masses and lengths must be given the smallest first")

    def draw(split: str, n: int, count: int, generator: Generator) -> Tensor:
        mass = uniform((n, 1, 1), lightest, heaviest, generator).expand(n, count, 1)
        length = uniform((n, 1, 1), shortest, longest, generator).expand(n, count, 1)
        angle = uniform((n, count, 1), -math.pi, math.pi, generator)
        return torch.cat([mass, length, angle, uniform((n, count, 1), -1.0, 1.0, generator)], -1)

    def move(state: Tensor, action: Tensor, y: Tensor) -> Tensor:
        mass, length = y[:, :1], y[:, 1:2]
        angle, speed = state[:, :1], state[:, 1:]
        pull = 1.5 * GRAVITY / length * angle.sin() + 3.0 * TORQUE / (mass * length**2) * action
        speed = (speed + SECONDS * pull).clamp(-FASTEST, FASTEST)
        return torch.cat([angle + SECONDS * speed, speed], -1)

    def rewards(states: Tensor, actions: Tensor, y: Tensor) -> Tensor:
        angle, speed = states[:, :-1].unbind(-1)
        return -(from_upright(angle).square() + 0.1 * speed**2 + 0.001 * (TORQUE * actions[..., 0]).square())

    world = World(
        draw=draw,
        start=lambda y: y[:, 2:],
        move=move,
        reward=rewards,
        metrics=lambda state, y: {"angle": from_upright(state[:, 0]).abs()},
        facts=2,
        observations=3,
        actions=1,
        observe=lambda state: torch.cat([state[..., :1].cos(), state[..., :1].sin(), state[..., 1:]], -1),
    )
    settings = Settings(
        horizon, trajectories, rounds, test_rounds, estimator, squash, discount, normalise, later_lr, clip_norm
    )
    return policy_suite(
        world, settings, lambda: Policy(world.sizes, width, activation, initial_std), {"quick": QUICK}
    )


def from_upright(angle: Tensor) -> Tensor:
    """The angle in [-pi, pi), 0 upright."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


QUICK = Recipe(
    source="No paper's: those of `navigation`, not tuned",
    budget={
        "updates": 100,
        "meta_batch_size": 20,
        "validations": 3,
        "validation_tasks": 40,
        "test_steps": 3,
        "test_tasks": 600,
    },
    algorithms={"reptile": {"inner_steps": 3}},
    shared=SHARED,
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"pendulum": pendulum}
