"""Nearest neighbour on raw inputs: what a task gives away without any learning."""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    NotApplicableError,
    Problem,
    hookimpl,
)
from metabench_plugins.algorithms.embeddings import one_hot, refuse_policies


def nearest(problem: Problem) -> Algorithm:
    """The target of the nearest support point, by Euclidean distance of the inputs; nothing is trained.

    For classes the output is 1 for that class and 0 for the others, for regression the target itself. Cover and Hart
    1967, "Nearest neighbor pattern classification"; a baseline of matching networks (arXiv 1606.04080, section 4.1).
    """

    refuse_policies(problem)

    def predict(meta: Meta, memory: Batch, x: Tensor) -> Tensor:
        y = nearest_targets(memory, x)
        if y.is_floating_point():
            return y
        if problem.ways is None:
            raise NotApplicableError("targets are whole numbers, and the suite does not say of how many `ways`")
        outputs: Tensor = one_hot(y, problem.ways, x)
        return outputs

    inner = InnerLoop(
        start=lambda meta, support: support,
        step=lambda meta, memory, support, i: memory,
        predict=predict,
    )
    return Algorithm(problem.init, inner)  # the initial weights are not used: the raw inputs decide


def nearest_targets(support: Batch, x: Tensor) -> Tensor:
    """The targets (q, ...) of the support points (s, ...) that are nearest to the inputs (q, ...)."""
    return support.y[torch.cdist(x.flatten(1), support.x.flatten(1)).argmin(1)]


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"nearest": nearest}
