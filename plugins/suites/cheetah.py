"""The half-cheetah: a runner in a plane that learns how fast, or which way, it is to run. By MuJoCo."""

from __future__ import annotations

from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from metabench.api import (
    Acting,
    Batch,
    Positive,
    Predict,
    Rate,
    Recipe,
    Share,
    Size,
    Suite,
    SuiteFactory,
    Task,
    hookimpl,
    requires,
)
from metabench_plugins.suites.policies import (
    SQUASH,
    Policy,
    Settings,
    Squash,
    Trajectories,
    divergence,
    judged,
    unpacked,
)
from metabench_plugins.suites.sinusoid import uniform

JOINTS, ACTIONS, OBSERVATIONS = 9, 6, 17
FRAMES, SECONDS = 5, 0.05
"""Steps of the simulation for each action, and how long they are together."""
EFFORT, WOBBLE = 0.05, 0.1
"""What an action costs, by its square; the deviation of the joints, and of their speeds, at the start."""
ALONG = 8
"""The column of an observation that is the speed forwards."""


@requires("gymnasium mujoco", "pip install 'metabench[rl]'")
def cheetah(
    *,
    goal: Literal["velocity", "direction"] = "velocity",
    fastest: Positive = 2.0,
    horizon: Size = 100,
    trajectories: Size = 20,
    rounds: Size = 1,
    test_rounds: Size = 3,
    estimator: Literal["lvc", "reinforce", "dice", "loaded-dice"] = "lvc",
    squash: Squash = "clip",
    discount: Share = 0.99,
    normalise: bool = True,
    later_lr: Rate = 0.5,
    clip_norm: Rate = 0.0,
    width: Size = 100,
    activation: Literal["relu", "tanh"] = "relu",
    initial_std: Positive = 1.0,
) -> Suite:
    """Run at a speed, or in a direction, that is the task's and of which only rewards tell; six joints are turned.

    Finn et al. 2017, arXiv 1703.03400, section 5.3, in the body of Gymnasium's HalfCheetah-v5, simulated by MuJoCo.
    An observation is the 17 numbers of it, without the position along the way. Episodes never end early. As the
    simulation cannot be traced, trajectories are collected between inner steps. What the other parameters are: see
    `navigation`.

    Args:
        goal: `velocity`: reward is minus the distance to the task's speed. `direction`: it is the speed forwards, or
            backwards: there are two tasks in all, so seeds are the unit of a comparison, not tasks. Both less 0.05
            times the squares of the actions.
        fastest: Speeds of `velocity` are drawn from 0 to this; 3 in ProMP's code.
        horizon: Steps of a trajectory: 200 in MAML's code, 100 in most after it.
        trajectories: Trajectories of an inner step, and of the query set.
        rounds: Inner steps of training that have trajectories of their own. What an algorithm does after more, or
            fewer, is weighted by how much likelier its actions have become.
        test_rounds: Inner steps of validation and test that have noise of their own; the next has the first again.
        estimator: Of the derivatives of the return.
        squash: How an action is held to [-1, 1]: cut off, or by tanh.
        discount: What a reward counts one step later.
        normalise: Divide advantages by their deviation.
        later_lr: Share of `inner_lr` that inner steps after the first have.
        clip_norm: Norm that longer outer directions are cut to; 0 leaves them as they are.
        width: Units of each of the policy's two hidden layers.
        activation: After each hidden layer.
        initial_std: Deviation of actions before training; it is learnt.
    """
    settings = Settings(
        horizon, trajectories, rounds, test_rounds, estimator, squash, discount, normalise, later_lr, clip_norm
    )

    def sample(split: str, n: int, generator: Generator) -> Task:
        support = trajectories * (rounds if split == "train" else test_rounds)
        count = support + trajectories
        wanted = uniform((n, 1, 1), 0.0, fastest, generator)
        if goal == "direction":
            wanted = torch.where(wanted < fastest / 2, -1.0, 1.0)
        joints = uniform((n, count, JOINTS), -WOBBLE, WOBBLE, generator)
        speeds = WOBBLE * torch.randn(n, count, JOINTS, generator=generator)
        y = torch.cat([wanted.expand(n, count, 1), joints, speeds], -1)
        x = torch.randn(n, count, horizon, ACTIONS, generator=generator)
        return Task(Batch(x[:, :support], y[:, :support]), Batch(x[:, support:], y[:, support:]))

    def reward(speed: Tensor, wanted: Tensor) -> Tensor:
        return -(speed - wanted).abs() if goal == "velocity" else speed * wanted

    def collect(predict: Predict, batch: Batch) -> Batch:
        observations, actions, speed = run(predict, squash, batch)
        effort = EFFORT * SQUASH[squash](actions).square().sum(-1)
        rewards = reward(speed, batch.y[:, :1]) - effort
        return Trajectories(observations, actions, rewards, torch.ones_like(rewards)).packed(predict)

    def metrics(predict: Predict, batch: Batch) -> dict[str, Tensor]:
        return {"return": unpacked(batch).rewards.sum(1).mean(), "speed": batch.x[..., ALONG].mean()}

    return Suite(
        sample=sample,
        model=partial(Policy, (OBSERVATIONS, ACTIONS), width, activation, initial_std),
        loss=lambda predict, batch: judged(settings, predict, unpacked(batch)),
        metrics=metrics,
        higher_is_better=True,
        head="head",
        step_points=trajectories,
        later_lr=later_lr,
        clip_norm=clip_norm,
        estimated=True,
        collect=collect,
        acting=Acting(collect, divergence, steps=settings.steps),
        distinct_tasks=2 if goal == "direction" else 0,
        recipes={"quick": QUICK, "paper": PAPER},
    )


def run(predict: Predict, squash: Squash, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Observations (N, H, 17), actions before they are squashed (N, H, 6) and speeds over each step (N, H).

    The policy's noise is x (N, H, 6), what each trajectory starts from is y (N, 1 + 9 + 9). A speed is NaN where an
    action is no number, and the body then stays where it is.
    """
    noise, bodies = batch.x, [body(*row.split([JOINTS, JOINTS])) for row in batch.y[:, 1:].double().cpu()]
    observations, actions, speeds = [], [], []
    for step in range(noise.shape[1]):
        seen = np.stack([np.concatenate([each.qpos[1:], each.qvel]) for each in bodies])
        observations.append(torch.from_numpy(seen).to(noise))
        mean, log_std = predict(observations[-1]).chunk(2, -1)
        actions.append(torch.addcmul(mean, log_std.exp(), noise[:, step]))
        taken = SQUASH[squash](actions[-1]).double().cpu().numpy()
        speeds.append([move(each, action) for each, action in zip(bodies, taken, strict=True)])
    return torch.stack(observations, 1), torch.stack(actions, 1), torch.tensor(speeds).T.to(noise)


@cache
def anatomy() -> Any:
    """The model of HalfCheetah-v5, from Gymnasium's file; without the warning that this has an old attribute."""
    import mujoco

    found = find_spec("gymnasium")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    finally:
        mujoco.set_mju_user_warning(before)


def body(joints: Tensor, speeds: Tensor) -> Any:
    """A simulation that nothing else has touched, its joints and their speeds (9,) so far from those at rest."""
    import mujoco

    data = mujoco.MjData(anatomy())
    data.qpos += joints.numpy()
    data.qvel += speeds.numpy()
    mujoco.mj_forward(anatomy(), data)
    return data


def move(data: Any, action: Any) -> float:
    """Act for one step; the mean speed forwards meanwhile."""
    import mujoco

    if not np.isfinite(action).all():
        return float("nan")
    before = data.qpos[0]
    data.ctrl[:] = action
    mujoco.mj_step(anatomy(), data, nstep=FRAMES)
    return float((data.qpos[0] - before) / SECONDS)


PAPER = Recipe(
    source=(
        "Finn et al. 2017, arXiv 1703.03400, appendix A.2, and the authors' code: an inner step of 0.1, 20 "
        "trajectories of 200 steps, 40 tasks an update, 800 updates. Outer loop: Adam at 1e-3, as in ProMP's code, "
        "where MAML has TRPO. Surrogate: lvc, where MAML has reinforce. 17 observations, where MAML has 20"
    ),
    suite={"horizon": 200},
    budget={"updates": 800, "meta_batch_size": 40, "test_steps": 3, "validations": 8, "validation_tasks": 40},
    algorithms={"reptile": {"inner_steps": 2}},
    shared={"inner_lr": 0.1, "inner_steps": 1, "outer_lr": 1e-3, "train_lr": 1e-3},
)
QUICK = Recipe(
    source=f"{PAPER.source}. Less of everything: 100 updates of 20 tasks, 10 trajectories of 100 steps",
    suite={"trajectories": 10},
    budget={
        "updates": 100,
        "meta_batch_size": 20,
        "test_steps": 3,
        "validations": 4,
        "validation_tasks": 20,
        "test_tasks": 40,
    },
    algorithms=PAPER.algorithms,
    shared=PAPER.shared,
)


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"cheetah": cheetah}
