"""First-order MAML: the query gradient at the adapted weights, applied to the initial ones."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Params,
    Problem,
    Rate,
    Steps,
    Task,
    hookimpl,
    sgd,
    unroll,
    value_and_grad,
)


def fomaml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """First-order MAML: MAML without the derivative of the inner steps.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, section 5.2; Nichol et al. 2018, arXiv 1803.02999, section 3.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    inner = sgd(problem, inner_lr)

    def meta_grad(meta: Params, task: Task, progress: float) -> tuple[Tensor, Params]:
        adapted = unroll(inner, meta, task.support, inner_steps)
        return value_and_grad(problem.loss)(adapted, task.query)

    return Algorithm(problem.init, inner, meta_grad=meta_grad, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"fomaml": fomaml}
