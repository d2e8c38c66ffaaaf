"""One update of MAML on 2D navigation, beside a loop over tasks by hand in the style of learn2learn's maml_trpo.

python -m benchmarks.navigation                # processor time on one thread, in turn
python -m benchmarks.navigation --threads 2    # wall time instead, on as many threads: for a quiet machine

20 tasks, 20 + 20 trajectories of 100 steps, MLP 100-100. Both sides roll 20 trajectories out at a time, have the same
noise, baseline and surrogate (`reinforce`, as learn2learn has it), and directions are compared before they are timed.
Threads run torch's kernels for the loop by hand, and chunks of tasks for metabench, as in its trials.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from metabench.api import Batch, Task
from metabench.engine.learner import BatchedLearner, as_learner
from metabench.engine.measure import keep_freed_memory
from metabench.engine.problem import build_problem
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.suites.estimators import advantages
from metabench_plugins.suites.navigation import GOAL, navigation

TASKS, INNER_LR, DISCOUNT = 20, 0.1, 0.99


@torch.no_grad()
def walk(policy: Callable[[Tensor], Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Positions before each step (N, H, 2), actions (N, H, 2) and rewards (N, H)."""
    noise, goal = batch.x, batch.y[:, GOAL]
    state = torch.zeros_like(goal)
    states, actions, rewards = [], [], []
    for step in range(noise.shape[1]):
        mean, log_std = policy(state).chunk(2, -1)
        action = mean + log_std.exp() * noise[:, step]
        states.append(state)
        actions.append(action)
        state = state + 0.1 * action.clamp(-1, 1)
        rewards.append(-(state - goal).norm(dim=-1))
    return torch.stack(states, 1), torch.stack(actions, 1), torch.stack(rewards, 1)


def surrogate(policy: nn.Module, batch: Batch) -> Tensor:
    """Minus the mean of log probability times advantage, on trajectories that are made by stepping."""
    seen, actions, gained = walk(policy, batch)
    found = advantages(seen, gained, torch.ones_like(gained), DISCOUNT, True)
    mean, log_std = policy(seen).chunk(2, -1)
    score: Tensor = Normal(mean, log_std.exp()).log_prob(actions).sum(-1)  # type: ignore[no-untyped-call]
    return -(score * found.advantages).mean()


class ByHand:
    """learn2learn's MAML around the policy, task by task, and Adam."""

    def __init__(self, policy: nn.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from learn2learn.algorithms import MAML
        self.maml: Any = MAML(policy, lr=INNER_LR)
        self.optimizer = torch.optim.Adam(self.maml.parameters(), lr=1e-3)

    def differentiate(self, tasks: Task) -> None:
        """Leave the mean gradient of the tasks in the parameters."""
        self.optimizer.zero_grad()
        for each in zip(*tasks.support, *tasks.query, strict=True):
            learner = self.maml.clone()
            learner.adapt(surrogate(learner, Batch(*each[:2])))
            torch.autograd.backward(surrogate(learner, Batch(*each[2:])) / len(tasks.support.x))

    def update(self, tasks: Task) -> None:
        """One meta-update."""
        self.differentiate(tasks)
        self.optimizer.step()


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.navigation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="wall time on N threads")
    parser.add_argument("--updates", type=int, default=7, metavar="N", help="timed updates each")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    suite = navigation(estimator="reinforce", discount=DISCOUNT)
    problem = build_problem(suite, 0)
    tasks = suite.sample("train", TASKS, torch.Generator().manual_seed(0))
    learner = as_learner(maml(problem, inner_lr=INNER_LR), "vectorised", given.threads or 1, suite=suite)
    assert isinstance(learner, BatchedLearner)
    peer = ByHand(problem.module())
    peer.differentiate(tasks)
    ours = learner.direction(tasks, 0.0)[1]
    theirs = torch.cat([weight.grad.flatten() for weight in peer.maml.module.parameters()])
    mine = torch.cat([ours[name].flatten() for name, _ in peer.maml.module.named_parameters()])
    print(f"directions differ by {float((mine - theirs).norm() / theirs.norm()):.2g}")
    clock = time.perf_counter if given.threads else time.process_time
    calls = {"by hand, learn2learn": lambda: peer.update(tasks), "metabench": lambda: learner.update(tasks, 0.0)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    kernels = dict(zip(calls, (given.threads or 1, 1), strict=True))
    for number in range(given.updates + 1):
        for name, call in calls.items():
            torch.set_num_threads(kernels[name])
            began = clock()
            call()
            if number:
                seconds[name].append(clock() - began)
    for name, each in seconds.items():
        print(f"{name:22} {1e3 * statistics.median(each):7.0f} ms an update (fastest {1e3 * min(each):.0f})")


if __name__ == "__main__":
    main()
