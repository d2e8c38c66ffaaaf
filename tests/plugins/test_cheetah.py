"""The half-cheetah: that it is Gymnasium's, and that what it does is a function of policy and noise alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from metabench.api import Batch
from metabench.engine.run import run_trial
from metabench.records.trials import Budget, Execution, Trial
from metabench.testing import check_suite
from metabench.testing.suite_task_checks import SuiteCase

pytest.importorskip("mujoco")

from metabench_plugins.suites.cheetah import body, cheetah, move, run

small = partial(cheetah, horizon=8, trajectories=6, width=8, activation="tanh")


def batch_of(suite):
    return Batch(*(leaf[0] for leaf in suite.sample("train", 1, torch.Generator().manual_seed(0)).query))


def test_the_kit_holds(registry):
    """Whether six short rollouts let the loss fall hangs on how a processor rounds."""
    results = check_suite(SuiteCase(small(), "cheetah", registry))
    assert not [result for result in results if result.verdict == "failed"]
    assert {result.check for result in results if result.verdict != "passed"} <= {"other-process", "metric-direction"}


def test_the_body_is_gymnasiums(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of what it warns of
    half_cheetah = pytest.importorskip("gymnasium.envs.mujoco.half_cheetah_v5")
    theirs = half_cheetah.HalfCheetahEnv()
    theirs.reset(seed=1)
    ours = body(*(torch.from_numpy(each.copy()) for each in (theirs.data.qpos, theirs.data.qvel)))
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 6)):
        seen, *_, said = theirs.step(action)
        assert move(ours, action) == said["x_velocity"]
        assert np.array_equal(np.concatenate([ours.qpos[1:], ours.qvel]), seen)


def test_a_trajectory_is_the_same_in_any_company():
    """Of a policy whose own rounding does not depend on how many states it is given."""

    def policy(x):
        means = torch.sin(3 * x[:, :6])
        return torch.cat([means, torch.full_like(means, -1.0)], 1)

    batch = batch_of(small())
    whole, alone = run(policy, "clip", batch), run(policy, "clip", Batch(batch.x[2:3], batch.y[2:3]))
    for one, other in zip(whole, alone, strict=True):
        assert torch.equal(one[2:3], other)


def test_rewards_are_for_the_right_speed_and_the_right_way():
    def stiff(x):
        return torch.cat([torch.full((len(x), 6), 0.5), torch.full((len(x), 6), -50.0)], 1)

    for goal, wanted in (("velocity", 0.5), ("direction", -1.0)):
        suite = small(goal=goal)
        batch = batch_of(suite)
        batch.y[:, 0] = wanted
        speed = run(stiff, "clip", batch)[2]
        reward = -(speed - wanted).abs() if goal == "velocity" else wanted * speed
        met = suite.collect(stiff, batch)
        assert torch.allclose(met.y[..., -2], reward - 0.05 * 6 * 0.5**2, atol=1e-5)
        found = suite.metrics(stiff, met)
        assert float(found["return"]) == pytest.approx(float(met.y[..., -2].sum(1).mean()))


def test_direction_has_two_tasks():
    tasks = small(goal="direction").sample("test", 40, torch.Generator().manual_seed(0))
    assert set(tasks.query.y[:, :, 0].flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("algorithm", "status"), [("maml", "ok"), ("l2l-maml", "unfit")])
def test_a_trial_says_whether_its_algorithm_can_be_run(algorithm, status, registry):
    trial = Trial(
        algorithm=algorithm,
        algorithm_parameters=registry.get("algorithm", algorithm).resolve({}),
        suite="cheetah",
        suite_parameters=registry.get("suite", "cheetah").resolve({"horizon": 3, "trajectories": 2, "width": 4}),
        seed=0,
        budget=Budget(updates=1, meta_batch_size=2, validations=1, validation_tasks=2, test_tasks=2, test_steps=1),
    )
    record = run_trial(trial, Execution(), lambda sign: None, registry).record
    assert record.status == status
    assert record.environment_steps == (0 if status == "unfit" else 2 * 3 * 2 * 2)  # tasks, horizon, trajectories
    assert ("does not collect between inner steps" in record.reason) == (status == "unfit")
