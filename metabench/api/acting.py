"""What a suite says of how its learners act, where its data depend on that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:  # the contract's page has this one's names
    from metabench.api.contract import Batch, Predict


class CollectFn(Protocol):
    def __call__(self, predict: Predict, batch: Batch, /) -> Batch:
        """What a predictor meets where data depend on who acts: from one task's batch as it was sampled."""


class Acting(NamedTuple):
    """What a suite of policies says to algorithms that are made for policies alone."""

    collect: CollectFn
    """Batches to trajectories, which loss and metrics take too; x (trajectories, steps, ...) is what was seen."""
    divergence: Callable[[Tensor, Tensor], Tensor]
    """From a policy's outputs to another's for the same inputs: the mean divergence of their actions, a scalar."""
    told: Callable[[Batch], Tensor] | None = None
    """What tells a task from others, in numbers (facts,), from its batch as it was sampled: for upper references."""
    facts: int = 0
    steps: int = 0
    """Of its environment that a training task takes, those of its query set among them."""
