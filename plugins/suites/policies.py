"""Policies and their trajectories: what is collected of them, and the loss that judges it.

Shapes: N trajectories of H steps; o numbers in an observation, a in an action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from metabench.api import Batch, Predict
from metabench_plugins.suites.estimators import Estimator, advantages, discounts, surrogate

Squash = Literal["clip", "tanh"]
SQUASH: dict[str, Callable[[Tensor], Tensor]] = {"clip": lambda action: action.clamp(-1.0, 1.0), "tanh": torch.tanh}


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

    @property
    def steps(self) -> int:
        """Of the environment, that a training task takes."""
        return self.horizon * self.trajectories * (self.rounds + 1)


class NormalHead(nn.Module):
    """Linear to means (..., a), and beside them log deviations (a,): (..., 2 a) by one product."""

    def __init__(self, width: int, actions: int, deviation: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(actions, width))
        self.bias = nn.Parameter(torch.empty(actions))
        self.log_std = nn.Parameter(torch.full((actions,), deviation).log())

    def forward(self, hidden: Tensor) -> Tensor:
        weight = nn.functional.pad(self.weight, (0, 0, 0, len(self.log_std)))
        return nn.functional.linear(hidden, weight, torch.cat([self.bias, self.log_std]))


class Policy(nn.Module):
    """A normal distribution over actions: observations (..., o) to its means and log deviations (..., 2 a).

    Two hidden layers; deviations are learnt, and the same for every observation. Initial weights are Xavier uniform,
    biases zero, as in the code of ProMP and of pytorch-maml-rl.
    """

    def __init__(
        self, sizes: tuple[int, int], width: int, activation: Literal["relu", "tanh"], deviation: float
    ) -> None:
        super().__init__()
        observations, actions = sizes
        self.activation: Callable[[Tensor], Tensor] = getattr(torch, activation)
        self.linear1 = nn.Linear(observations, width)
        self.linear2 = nn.Linear(width, width)
        self.head = NormalHead(width, actions, deviation)
        for layer in (self.linear1, self.linear2, self.head):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = self.activation(self.linear2(self.activation(self.linear1(observations))))
        outputs: Tensor = self.head(hidden)
        return outputs


def divergence(before: Tensor, now: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of policies' distributions, from outputs (..., 2 a) to others: their mean."""
    (mean, log_std), (new_mean, new_log_std) = before.chunk(2, -1), now.chunk(2, -1)
    spread = ((2 * log_std).exp() + (mean - new_mean).square()) * (-2 * new_log_std).exp()
    return (new_log_std - log_std + (spread - 1) / 2).sum(-1).mean()


class Trajectories(NamedTuple):
    """N trajectories of one task, and how likely the policy that took them was to do so."""

    observations: Tensor
    """(N, H, o): what it saw before each action."""
    actions: Tensor
    """(N, H, a), as it drew them: before they are squashed."""
    rewards: Tensor
    """(N, H); zero behind an episode's end."""
    alive: Tensor
    """(N, H): 1 for a step that was taken, 0 behind the end."""
    scores: Tensor | None = None
    """(N, H): `log_probability` of the actions then; None where that is now."""

    def packed(self, predict: Predict) -> Batch:
        """As a batch: observations, and actions with what came of them (N, H, a + 3); `predict` is who took them."""
        scores = log_probability(predict, self)
        beside = torch.stack([scores, self.rewards, self.alive], -1)
        return Batch(self.observations, torch.cat([self.actions, beside], -1))


def is_collected(batch: Batch) -> bool:
    """Whether the batch of one task holds trajectories, not what they are made of."""
    return batch.y.dim() == 3


def unpacked(batch: Batch) -> Trajectories:
    """What Trajectories.packed made of them."""
    scores, rewards, alive = batch.y[..., -3:].unbind(-1)
    return Trajectories(batch.x, batch.y[..., :-3], rewards, alive, scores)


def log_probability(predict: Predict, taken: Trajectories) -> Tensor:
    """Of the actions (N, H), but for a constant; zero behind an end."""
    seen, actions = taken.observations, taken.actions
    outputs = predict(seen.flatten(0, 1)).view(*seen.shape[:2], 2 * actions.shape[-1])
    mean, log_std = outputs[..., : actions.shape[-1]], outputs[0, 0, actions.shape[-1] :]
    score = ((actions - mean) * (-log_std).exp()).square().sum(-1) / -2 - log_std.sum()
    return score * taken.alive


def judged(settings: Settings, predict: Predict, taken: Trajectories) -> Tensor:
    """Minus the mean discounted return, divided by the horizon; its derivatives are those of the estimator.

    Trajectories that another policy took are weighted, action by action, by how much likelier they are now; and the
    loss is less by what that makes of their advantages: so it can be compared from policy to policy, near to them.
    """
    score = log_probability(predict, taken)
    found = advantages(taken.observations, taken.rewards, taken.alive, settings.discount, settings.normalise)
    value = -discounted_return(taken.rewards, settings.discount)
    if taken.scores is not None:
        ratio = (score.detach() - taken.scores).exp()
        value = value - ((ratio - 1) * found.advantages).mean()
        found = found._replace(
            rewards=ratio * found.rewards, expected=ratio * found.expected, advantages=ratio * found.advantages
        )
    gain = surrogate(settings.estimator, score, found)
    return gain.detach() - gain + value


def discounted_return(rewards: Tensor, discount: float) -> Tensor:
    """The mean over trajectories (N, H), divided by the horizon."""
    return (rewards @ discounts(rewards, discount)[:, 0]).mean() / rewards.shape[1]
