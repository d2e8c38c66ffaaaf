"""MAML: initial weights from which a few gradient steps solve a task."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import Algorithm, AlgorithmFactory, Problem, Rate, Steps, hookimpl, query_loss, sgd


def maml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML, second order: the exact gradient of the query loss through the inner steps.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, Algorithms 1 and 2. For classification the authors' code divides
    the losses of a task's `ways` times `shots` points by the shots alone, so that its inner gradient is `ways` times
    that of the mean loss, which is taken here: its step sizes of 0.4 (5 ways) and 0.1 (20 ways) on Omniglot are 2.0
    of ours, and 0.01 on mini-ImageNet is 0.05. It also leaves BatchNorm's shift, where it has no scale, out of the
    inner loop; here both are adapted, which makes no difference at one step.

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
