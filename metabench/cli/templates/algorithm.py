"""my-plugin: initial weights from which a few gradient steps solve a task. Say what yours is, and its source."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import Algorithm, Batch, Params, Problem, Rate, Steps, grad, hookimpl, map_tree, query_loss, sgd


# The keyword parameters are what users --set: each has a type, a default and an explanation under `Args:`.
def my_plugin(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """The query loss after inner steps, minimised over the initial weights. The first line is in `metabench list`.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """

    # CHANGE: what one step on the support set does. No random numbers, nothing in place: w - lr * g, not w -= lr * g.
    def step(meta: Params, fast: Params, support: Batch, i: int) -> Params:
        grads = grad(problem.loss)(fast, support)
        return map_tree(lambda weight, gradient: weight - inner_lr * gradient, fast, grads)

    # CHANGE: where adaptation begins, and how it predicts; here at `meta`, what `init` returns, and by the model.
    inner = sgd(problem, inner_lr)._replace(step=step)

    # CHANGE: what meta-training minimises on one task, here the query loss after `inner_steps`: any function
    # (meta, task, progress) -> loss. `metabench check` holds its gradient to finite differences.
    objective = query_loss(problem, inner, inner_steps)

    # CHANGE problem.init to learn more than weights: return {"weights": problem.init(), "rates": ...}.
    return Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, object]:
    return {"my-plugin": my_plugin}
