"""my-plugin: initial weights from which a few gradient steps solve a task. Say what yours is, and its source."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from metabench.api import Algorithm, Batch, Params, Problem, Task, grad, hookimpl, map_tree, unroll


# The keyword parameters are what users --set: each has a type and a default, and is in the record of every trial.
def my_plugin(problem: Problem, *, inner_lr: float = 0.01, inner_steps: int = 1, outer_lr: float = 1e-3) -> Algorithm:
    """The query loss after inner steps, minimised over the initial weights. The first line is in `metabench list`."""

    # CHANGE: what one step on the support set does. No random numbers, nothing in place: w - lr * g, not w -= lr * g.
    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        slopes = grad(problem.loss)(fast, support)
        return map_tree(lambda weight, slope: weight - inner_lr * slope, fast, slopes)

    # CHANGE: what meta-training minimises on one task. `metabench check` holds its gradient to finite differences.
    def objective(meta: Params, task: Task, progress: float) -> Tensor:
        return problem.loss(unroll(algorithm, meta, task.support, inner_steps), task.query)

    algorithm = Algorithm(
        init=problem.init,  # CHANGE, to learn more than weights: {"weights": problem.init(), "rates": ...}
        start=lambda meta, support: meta,
        step=step,
        predict=lambda meta, fast, x: problem.apply(fast, x),
        objective=objective,
        optimizer=partial(torch.optim.Adam, lr=outer_lr),
    )
    return algorithm


@hookimpl
def register_algorithms():
    return {"my-plugin": my_plugin}
