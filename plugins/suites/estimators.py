"""Surrogates whose derivatives estimate those of a policy's return, and the baseline that makes their spread smaller.

All of them have the same gradient in expectation. What MAML needs besides is the derivative of that gradient, and
there they differ: see `surrogate`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Estimator = Literal["lvc", "reinforce", "dice", "loaded-dice", "pathwise"]
RIDGE = 1e-5
"""What the closed form of the baseline adds to the diagonal, as in rllab's LinearFeatureBaseline."""


class Advantages(NamedTuple):
    """What trajectories say of their actions, with nothing to differentiate; each (N, H), zero behind an end."""

    rewards: Tensor
    expected: Tensor
    """Rewards to go, discounted, by the baseline."""
    advantages: Tensor
    """Rewards to go less what was expected."""
    weights: Tensor
    """(H,): what a reward at each step counts at the start."""


@torch.no_grad()
def advantages(observations: Tensor, rewards: Tensor, alive: Tensor, discount: float, normalise: bool) -> Advantages:
    """See Advantages; with `normalise` all are divided by the deviation of the advantages."""
    decay = discounts(rewards, discount)
    ahead = rewards @ decay
    expected = baseline(observations, ahead, alive) * alive
    surprise = ahead - expected
    scale = (surprise.square().sum() / alive.sum()).sqrt() + 1e-8 if normalise else torch.ones_like(rewards[0, 0])
    return Advantages(rewards / scale, expected / scale, surprise / scale, decay[:, 0])


def surrogate(estimator: Estimator, score: Tensor, found: Advantages) -> Tensor:
    """A scalar whose gradient is that of the mean return by step, whatever its value.

    `score` (N, H) is the log probability of each action, of which alone derivatives are taken. With advantages A,
    rewards r, c the sum of scores up to a step and m(x) = exp(x - x detached):

    * `reinforce`: score A. What MAML's code has; most of its second derivative is missing.
    * `lvc`: m(score) A. ProMP's low-variance curvature: a biased second derivative of small spread. Rothfuss et al.
      2019, arXiv 1810.06784, section 4.
    * `dice`: m(c) r, and (1 - m(score)) times the baseline: right in every derivative, of large spread. Foerster et
      al. 2018, arXiv 1802.05098.
    * `loaded-dice`: (m(c) - m(c one step before)) A: as right, of smaller spread. Farquhar et al. 2019, arXiv
      1909.10549.
    """
    if estimator == "reinforce":
        return (score * found.advantages).mean()
    if estimator == "lvc":
        return (magic(score) * found.advantages).mean()
    total = score.cumsum(1)
    if estimator == "dice":
        terms = magic(total) * found.rewards + (1 - magic(score)) * found.expected
    else:
        terms = (magic(total) - magic(torch.nn.functional.pad(total[:, :-1], (1, 0)))) * found.advantages
    return (terms * found.weights).mean()


def magic(score: Tensor) -> Tensor:
    """One, with the derivatives of a probability divided by itself."""
    ratio: Tensor = (score - score.detach()).exp()
    return ratio


def discounts(rewards: Tensor, discount: float) -> Tensor:
    """(H, H): rewards (N, H) times it are those to go, discounted; its first column is the weight of each step."""
    steps = torch.arange(rewards.shape[1], device=rewards.device)
    ahead = steps[:, None] - steps
    return torch.full_like(rewards[0, 0], discount).pow(ahead.clamp(0)) * (ahead >= 0)


def baseline(observations: Tensor, ahead: Tensor, alive: Tensor) -> Tensor:
    """What a linear fit of these trajectories expects of the rewards to go, (N, H): least squares in closed form.

    Features are observations, their squares, t, t squared and cubed (t in hundreds of steps), and 1: Duan et al.
    2016, arXiv 1604.06778. In double precision, as powers of t are nearly collinear.
    """
    time = torch.arange(ahead.shape[1], device=ahead.device, dtype=torch.float64)[:, None] / 100
    powers = torch.cat([time, time**2, time**3, torch.ones_like(time)], 1)
    seen = observations.double()
    features = torch.cat([seen, seen**2, powers.expand(len(seen), *powers.shape)], -1)
    counted = (features * alive[..., None]).flatten(0, 1)
    gram = counted.T @ counted + RIDGE * torch.eye(features.shape[-1], device=ahead.device, dtype=torch.float64)
    weights: Tensor = torch.linalg.solve_ex(gram, counted.T @ ahead.double().flatten())[0]
    return (features @ weights).to(ahead.dtype)
