"""Policies in torch environments: many trajectories of one task at once, and the suite that is made of them.

Shapes: N trajectories of H steps; s numbers in a state, o in an observation, a in an action. Trajectories are rolled
out inside the loss, with the noise that came with the batch: what a policy does is a function of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from metabench.api import Acting, Batch, Predict, Recipe, Suite, Task
from metabench_plugins.suites.policies import (
    SQUASH,
    Settings,
    Squash,
    Trajectories,
    discounted_return,
    divergence,
    is_collected,
    judged,
    unpacked,
)


class World(NamedTuple):
    """An environment as pure functions of many trajectories; `y` (N, k) is what is given for each: goal, start."""

    draw: Callable[[str, int, int, Generator], Tensor]
    """`y` (n, N, k) of n tasks of a split, with N trajectories each."""
    start: Callable[[Tensor], Tensor]
    """`y` to states (N, s)."""
    move: Callable[[Tensor, Tensor, Tensor], Tensor]
    """States, actions in [-1, 1] (N, a) and `y` to the next states."""
    reward: Callable[[Tensor, Tensor, Tensor], Tensor]
    """States from the start on (N, H + 1, s), actions (N, H, a) and `y` (N, 1, k) to rewards (N, H)."""
    metrics: Callable[[Tensor, Tensor], Mapping[str, Tensor]]
    """Last states (N, s) and `y` to numbers (N,) by name, which are shown beside the return."""
    facts: int
    """Columns of `y`, the first ones, that tell the task from others."""
    observations: int
    actions: int
    observe: Callable[[Tensor], Tensor] = lambda state: state
    """States (..., s) to observations (..., o)."""
    done: Callable[[Tensor, Tensor], Tensor] | None = None
    """States after each step (N, H, s) and `y` (N, 1, k) to whether the episode ends there (N, H)."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Of observations and of actions."""
        return self.observations, self.actions


def policy_suite(
    world: World, settings: Settings, model: Callable[[], nn.Module], recipes: Mapping[str, Recipe]
) -> Suite:
    """The suite of policies in a world: x is noise (n, N, H, a), y the world's; each inner step has its own part."""

    def sample(split: str, n: int, generator: Generator) -> Task:
        support = settings.trajectories * (settings.rounds if split == "train" else settings.test_rounds)
        y = world.draw(split, n, support + settings.trajectories, generator)
        x = torch.randn(n, y.shape[1], settings.horizon, world.actions, generator=generator)
        return Task(Batch(x[:, :support], y[:, :support]), Batch(x[:, support:], y[:, support:]))

    return Suite(
        sample=sample,
        model=model,
        loss=partial(policy_loss, world, settings),
        metrics=partial(policy_metrics, world, settings),
        higher_is_better=True,
        head="head",
        step_points=settings.trajectories,
        later_lr=settings.later_lr,
        clip_norm=settings.clip_norm,
        estimated=settings.estimator != "pathwise",
        acting=Acting(
            partial(collect, world, settings),
            divergence,
            told=lambda batch: batch.y[0, : world.facts],
            facts=world.facts,
            steps=settings.steps,
        ),
        recipes=recipes,
    )


def roll_out(predict: Predict, world: World, squash: Squash, batch: Batch) -> tuple[Tensor, Trajectories]:
    """The states (N, H + 1, s) and trajectories of a policy: its noise is x (N, H, a), its worlds are y (N, k)."""
    x, y = batch
    states, actions = [world.start(y)], []
    deviation = None
    for noise in x.unbind(1):
        outputs = predict(world.observe(states[-1]))
        if deviation is None:  # it is the same everywhere
            deviation = outputs[0, world.actions :].exp()
        actions.append(torch.addcmul(outputs[:, : world.actions], deviation, noise))
        states.append(world.move(states[-1], SQUASH[squash](actions[-1]), y))
    path, drawn, y = torch.stack(states, 1), torch.stack(actions, 1), y[:, None]
    rewards = world.reward(path, SQUASH[squash](drawn), y)
    seen = world.observe(path[:, :-1])
    if world.done is None:
        return path, Trajectories(seen, drawn, rewards, torch.ones_like(rewards))
    ended = world.done(path[:, 1:], y).to(rewards.dtype)
    alive = (ended.cumsum(1) - ended == 0).to(rewards.dtype)
    return path, Trajectories(seen, drawn, rewards * alive, alive)


@torch.no_grad()
def collect(world: World, settings: Settings, predict: Predict, batch: Batch) -> Batch:
    """The trajectories of a policy, as a batch that can be judged again and again."""
    return roll_out(predict, world, settings.squash, batch)[1].packed(predict)


def policy_loss(world: World, settings: Settings, predict: Predict, batch: Batch) -> Tensor:
    """See `judged`. With `pathwise` derivatives go through the environment.

    The other estimators take trajectories as given: these are rolled out without a graph, or were collected, and one
    call of the policy judges all actions.
    """
    if is_collected(batch):
        return judged(settings, predict, unpacked(batch))
    if settings.estimator == "pathwise":
        return -discounted_return(roll_out(predict, world, settings.squash, batch)[1].rewards, settings.discount)
    with torch.no_grad():
        taken = roll_out(predict, world, settings.squash, batch)[1]
    return judged(settings, predict, taken)


def policy_metrics(world: World, settings: Settings, predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The mean undiscounted return, and what the world says of the last states."""
    if is_collected(batch):
        return {"return": unpacked(batch).rewards.sum(1).mean()}
    path, taken = roll_out(predict, world, settings.squash, batch)
    last = taken.alive - nn.functional.pad(taken.alive[:, 1:], (0, 1))
    ends = (last[..., None] * path[:, 1:]).sum(1)
    found = {name: values.mean() for name, values in world.metrics(ends, batch.y).items()}
    return {"return": taken.rewards.sum(1).mean(), **found}
