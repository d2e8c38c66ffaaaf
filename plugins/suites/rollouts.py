"""Policies in torch environments: many trajectories of one task at once, and the suite that is made of them.

Shapes: N trajectories of H steps; s numbers in a state, o in an observation, a in an action. Trajectories are rolled
out inside the loss, with the noise that came with the batch: what a policy does is a function of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from metabench.api import Batch, Predict, Recipe, Suite, Task
from metabench_plugins.suites.estimators import Estimator, advantages, discounts, surrogate

Squash = Literal["clip", "tanh"]
SQUASH: dict[str, Callable[[Tensor], Tensor]] = {"clip": lambda action: action.clamp(-1.0, 1.0), "tanh": torch.tanh}


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
    observations: int
    actions: int
    observe: Callable[[Tensor], Tensor] = lambda state: state
    """States (..., s) to observations (..., o)."""
    done: Callable[[Tensor, Tensor], Tensor] | None = None
    """States after each step (N, H, s) and `y` (N, 1, k) to whether the episode ends there (N, H)."""


class Settings(NamedTuple):
    """What all suites of policies have for parameters."""

    horizon: int
    trajectories: int
    rounds: int
    test_rounds: int
    estimator: Estimator
    squash: Squash
    discount: float
    normalise: bool
    later_lr: float
    clip_norm: float


class Episodes(NamedTuple):
    """N trajectories of one task."""

    states: Tensor
    """(N, H + 1, s), from the start on."""
    actions: Tensor
    """(N, H, a), as the policy drew them: before they are squashed."""
    rewards: Tensor
    """(N, H); zero behind an episode's end."""
    alive: Tensor
    """(N, H): 1 for a step that was taken, 0 behind the end."""


class NormalHead(nn.Linear):
    """A linear layer to means (..., a), and beside them log deviations (a,): (..., 2 a) by one product."""

    def __init__(self, width: int, actions: int, deviation: float) -> None:
        super().__init__(width, actions)
        self.log_std = nn.Parameter(torch.full((actions,), deviation).log())

    def forward(self, hidden: Tensor) -> Tensor:
        weight = nn.functional.pad(self.weight, (0, 0, 0, len(self.log_std)))
        return nn.functional.linear(hidden, weight, torch.cat([self.bias, self.log_std]))


class Policy(nn.Module):
    """A normal distribution over actions: observations (..., o) to its means and log deviations (..., 2 a).

    Two hidden layers; deviations are learnt, and the same for every observation. Initial weights are Xavier uniform,
    biases zero, as in the code of ProMP and of pytorch-maml-rl.
    """

    def __init__(self, world: World, width: int, activation: Literal["relu", "tanh"], deviation: float) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = getattr(torch, activation)
        self.linear1 = nn.Linear(world.observations, width)
        self.linear2 = nn.Linear(width, width)
        self.head = NormalHead(width, world.actions, deviation)
        for layer in (self.linear1, self.linear2, self.head):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = self.activation(self.linear2(self.activation(self.linear1(observations))))
        outputs: Tensor = self.head(hidden)
        return outputs


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
        recipes=recipes,
    )


def roll_out(predict: Predict, world: World, squash: Squash, batch: Batch) -> Episodes:
    """The trajectories of a policy: its noise is x (N, H, a), its worlds are y (N, k)."""
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
    if world.done is None:
        return Episodes(path, drawn, rewards, torch.ones_like(rewards))
    ended = world.done(path[:, 1:], y).to(rewards.dtype)
    alive = (ended.cumsum(1) - ended == 0).to(rewards.dtype)
    return Episodes(path, drawn, rewards * alive, alive)


def policy_loss(world: World, settings: Settings, predict: Predict, batch: Batch) -> Tensor:
    """Minus the mean discounted return, divided by the horizon; its derivatives are those of the estimator.

    With `pathwise` they go through the environment. The other estimators take trajectories as given: these are
    rolled out without a graph, and one call of the policy judges all actions.
    """
    if settings.estimator == "pathwise":
        return -discounted_return(roll_out(predict, world, settings.squash, batch), settings.discount)
    with torch.no_grad():
        episodes = roll_out(predict, world, settings.squash, batch)
    observations = world.observe(episodes.states[:, :-1])
    outputs = predict(observations.flatten(0, 1)).view(*observations.shape[:2], 2 * world.actions)
    mean, log_std = outputs[..., : world.actions], outputs[0, 0, world.actions :]
    score = ((episodes.actions - mean) * (-log_std).exp()).square().sum(-1) / -2 - log_std.sum()
    gain = surrogate(
        settings.estimator,
        score * episodes.alive,
        advantages(observations, episodes.rewards, episodes.alive, settings.discount, settings.normalise),
    )
    return gain.detach() - gain - discounted_return(episodes, settings.discount)


def discounted_return(episodes: Episodes, discount: float) -> Tensor:
    """Its mean, divided by the horizon."""
    return (episodes.rewards @ discounts(episodes.rewards, discount)[:, 0]).mean() / episodes.rewards.shape[1]


def policy_metrics(world: World, settings: Settings, predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The mean undiscounted return, and what the world says of the last states."""
    episodes = roll_out(predict, world, settings.squash, batch)
    last = episodes.alive - nn.functional.pad(episodes.alive[:, 1:], (0, 1))
    ends = (last[..., None] * episodes.states[:, 1:]).sum(1)
    found = {name: values.mean() for name, values in world.metrics(ends, batch.y).items()}
    return {"return": episodes.rewards.sum(1).mean(), **found}
