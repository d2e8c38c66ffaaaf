"""The baseline that learns nothing before it meets the task."""

from __future__ import annotations

from metabench.api import Algorithm, AlgorithmFactory, Problem, Rate, hookimpl, sgd


def scratch(problem: Problem, *, inner_lr: Rate = 0.01) -> Algorithm:
    """No meta-training: gradient descent on the support set from the random start.

    Args:
        inner_lr: Step size of the inner loop.
    """
    return Algorithm(problem.init, sgd(problem, inner_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"scratch": scratch}
