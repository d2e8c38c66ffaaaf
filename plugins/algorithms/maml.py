"""MAML: initial weights from which a few gradient steps solve a task."""

from __future__ import annotations

from functools import partial

import torch

from metabench.api import Algorithm, Problem, hookimpl, query_loss, sgd


def maml(problem: Problem, *, inner_lr: float = 0.01, inner_steps: int = 1, outer_lr: float = 1e-3) -> Algorithm:
    """MAML, second order: the exact gradient of the query loss through the inner steps.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, Algorithms 1 and 2.
    """
    inner = sgd(problem, inner_lr)
    return Algorithm(
        init=problem.init,
        start=inner.start,
        step=inner.step,
        predict=inner.predict,
        objective=query_loss(problem, inner, inner_steps),
        optimizer=partial(torch.optim.Adam, lr=outer_lr),
    )


@hookimpl
def register_algorithms():
    return {"maml": maml}
