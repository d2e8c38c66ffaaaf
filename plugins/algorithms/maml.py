"""MAML: initial weights from which a few gradient steps solve a task."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import Algorithm, AlgorithmFactory, Problem, Rate, Steps, hookimpl, query_loss, sgd


def maml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML, second order: the exact gradient of the query loss through the inner steps.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, Algorithms 1 and 2.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    inner = sgd(problem, inner_lr)
    objective = query_loss(problem, inner, inner_steps)
    return Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"maml": maml}
