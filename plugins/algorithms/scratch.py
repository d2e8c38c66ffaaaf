"""The baseline that learns nothing before it meets the task."""

from __future__ import annotations

from metabench.api import Algorithm, Problem, hookimpl, sgd


def scratch(problem: Problem, *, inner_lr: float = 0.01) -> Algorithm:
    """No meta-training: gradient descent on the support set from the random start."""
    inner = sgd(problem, inner_lr)
    return Algorithm(problem.init, inner.start, inner.step, inner.predict)


@hookimpl
def register_algorithms():
    return {"scratch": scratch}
