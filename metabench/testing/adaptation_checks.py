"""The checks of how an algorithm adapts to a task. Each states a property; `--explain` shows its docstring."""

from __future__ import annotations

from functools import partial

import torch

from metabench.api import Batch, Learner, Task
from metabench.api.trees import Tree, map_tree
from metabench.engine.learner import BatchedLearner
from metabench.testing.cases import Case, copied, gap, losses, plugin_functions, predictions, require_equal
from metabench.testing.checks import Check, FailureError, where

MANY_STEPS = 12


def runs(case: Case) -> None:
    """The factory makes a learner that adapts, and predicts finite numbers in the shape of the model's outputs.

    One task and four are adapted to, and the query points are predicted; one for twelve inner steps, more than most
    are trained for. Every other check needs this one.
    Typical causes: an exception in `init`, `start`, `step` or `predict` (the message names the line); `.item()`,
    `if tensor:` or an in-place write, which torch.vmap refuses; a division by zero; a forgotten axis; rates that are
    learnt for each inner step, and are too few.
    Remedy: run the functions by hand on one task; write `torch.where` for `if`, and `w - lr * g` for `w -= lr * g`;
    let steps after the last take what is learnt for the last.
    """
    problem = case.problem()
    for n in (1, 4):
        tasks, learner = case.tasks(n), case.learner()
        found = predictions(learner, tasks)
        expected = (n, *problem.apply(problem.init(), tasks.query.x[0]).shape)
        if tuple(found.shape) != expected:
            raise FailureError(
                f"outputs of shape {tuple(found.shape)} where the model gives {expected}",
                f"`predict` adds or drops an axis{where(*plugin_functions(learner)[::-1])}",
            )
        if not bool(found.isfinite().all()):
            raise FailureError(
                "outputs that are not finite", f"an inner step too large{where(*plugin_functions(learner))}"
            )
    runs_on(case)


def runs_on(case: Case) -> None:
    """Adapt for many more inner steps; see runs."""
    tasks, learner = case.tasks(1), case.learner()
    with torch.no_grad():
        counts = [len(adapted) for adapted in learner.adapt(tasks.support, MANY_STEPS)]
        predictions(learner, tasks, MANY_STEPS)
    if counts != [1] * (MANY_STEPS + 1):
        at = where(*plugin_functions(learner))
        raise FailureError(
            f"{MANY_STEPS} inner steps on one task gave predictors {len(counts)} times, of {set(counts)} tasks",
            f"`adapt` must give one predictor a task, before the first step and after each{at}",
        )


def float64_kept(case: Case) -> None:
    """Given float64, an algorithm computes in float64: outputs answer a change of 1e-8 in the inputs in proportion.

    The support inputs are moved by 1e-8 and by 2e-8 along one direction; the second answer must be twice the first.
    Why: float64 is what tells a wrong gradient from rounding, so the sharp checks need this one.
    Typical causes: `.float()`, `torch.tensor(0.5)` or `torch.zeros(n)` that bring float32 in, a float32 buffer.
    Remedy: make tensors like others (`torch.zeros_like(w)`, `w.new_zeros(n)`, `x.to(w.dtype)`), or use plain numbers.
    """
    tasks, learner = case.tasks(4), case.learner()
    first = predictions(learner, tasks)
    cause = f"`.float()` or a new tensor without `dtype=` brings float32 in{where(*plugin_functions(learner))}"
    if first.dtype != torch.float64:
        raise FailureError(f"outputs in {first.dtype}", cause)
    direction = torch.linspace(-1, 1, tasks.support.x.numel(), dtype=torch.float64).sin().view_as(tasks.support.x)

    def answer(size: float) -> torch.Tensor:
        moved = tasks._replace(support=Batch(tasks.support.x + size * direction, tasks.support.y))
        return predictions(case.learner(), moved) - first

    once, twice = answer(1e-8), answer(2e-8)
    error, size = float((twice - 2 * once).abs().max()), float(twice.abs().max())
    if error > 0.02 * size + 1e-14:
        raise FailureError(f"an answer of {size:.2g} that is off by {error:.2g}, which float64 would not be", cause)


def tasks_isolated(case: Case) -> None:
    """A task's predictions do not depend on the tasks beside it, or on their order.

    Four tasks are adapted to together, each beside its copy, and in reverse order, by a fresh learner each time.
    Why: at test time tasks come in blocks; a leak makes the score depend on the size of a block.
    Typical causes: BatchNorm over the points of all tasks at once, a mean without `dim=`, one module or context that
    every task of a Learner writes into.
    Remedy: one forward pass a task, statistics within a task, `copy.deepcopy` of the module for each task.
    """
    tasks = case.tasks(4)
    learner = case.learner()
    at = where(*plugin_functions(learner))
    cause = f"something is shared or averaged over tasks, such as BatchNorm's statistics{at}"
    together = predictions(learner, tasks)
    for i in range(4):
        alone = predictions(case.learner(), map_tree(lambda leaf, i=i: leaf[[i, i]], tasks))
        words = (f"predictions for task {i} beside others and beside itself", cause)
        require_equal(together[i], alone[0], 1e-8, words)
    reverse = predictions(case.learner(), map_tree(lambda leaf: leaf.flip(0), tasks)).flip(0)
    require_equal(together, reverse, 1e-8, ("predictions in one order of the tasks and in the reverse", cause))


def inputs_untouched(case: Case) -> None:
    """Neither updating nor adapting writes into the tasks.

    The tasks are compared with a copy after adapting, and after an update.
    Why: every algorithm meets the same tasks; one that edits them changes what the next one sees.
    Typical causes: `x.mul_()`, `x += noise`, `x[0] = ...`, `torch.add(..., out=x)`, also on a view of x.
    Remedy: write `x = x + noise`, or edit `x.clone()`.
    """
    learner, tasks = case.learner(), case.tasks(4)
    before = copied(tasks)
    functions = plugin_functions(learner)
    cause = f"an operation in place (`mul_`, `+=`, `x[0] =`) on the data{where(*functions[1:], *functions)}"
    with torch.no_grad():
        for adapted in learner.adapt(tasks.support, 2):
            [predict(x) for predict, x in zip(adapted, tasks.query.x)]
    require_equal(tasks, before, 0.0, ("the tasks before and after adapting", cause))
    if learner.trainable:
        learner.update(tasks, 0.0)
        require_equal(tasks, before, 0.0, ("the tasks before and after an update", cause))


def learner_untouched(case: Case) -> None:
    """Adapting leaves no trace: adapting to the same tasks again gives the same bits, whatever came between.

    A learner adapts to four tasks, to four others, and to the first four again.
    Why: validation during training and the order of test tasks must not change the result.
    Typical causes: running statistics of BatchNorm that adaptation updates, a counter or a cache on `self`, weights
    that are adapted in place and not put back.
    Remedy: adapt a copy (`copy.deepcopy(self.module)`), and keep nothing of a test task.
    """
    learner, tasks = case.learner(), case.tasks(4)
    first = predictions(learner, tasks)
    predictions(learner, case.tasks(4, "others"))
    words = "predictions for tasks met once and met again"
    cause = (
        f"adapting writes into the learner: running statistics, a counter, a cache{where(*plugin_functions(learner))}"
    )
    require_equal(first, predictions(learner, tasks), 0.0, (words, cause))


def query_unread(case: Case) -> None:
    """Adapting reads the support set and nothing behind it: query labels do not reach it.

    Many suites cut support and query out of one tensor, and `support.y` is then a view of memory that holds the
    query labels too. The check gives such views, changes the query labels, and expects the same predictions.
    (`metabench run` copies what it hands out, so that nothing lies behind it.)
    Typical causes: `support.y._base`, `untyped_storage()`, `as_strided` beyond the view's end.
    Remedy: use `support.x` and `support.y` only; what the query set needs at adaptation belongs into `predict`.
    """
    tasks = case.tasks(4)
    size = tasks.support.y.shape[1]
    found = []
    for labels in (tasks.query.y, tasks.query.y.flip(1)):
        inputs, targets = torch.cat([tasks.support.x, tasks.query.x], 1), torch.cat([tasks.support.y, labels], 1)
        learner = case.learner()
        with torch.no_grad():
            for adapted in learner.adapt(Batch(inputs[:, :size], targets[:, :size]), 2):
                last = adapted
            found.append([predict(x) for predict, x in zip(last, tasks.query.x)])
    cause = f"memory behind `support` is read (`_base`, a storage){where(*plugin_functions(learner))}"
    require_equal(found[0], found[1], 0.0, ("predictions under two sets of query labels", cause))


def support_matters(case: Case) -> None:
    """Other support labels lead to other predictions.

    The labels of each support set are moved round by one point.
    Why: a learner that does not read them cannot learn a task from its examples.
    Typical causes: `step` returns `fast` as it was, the loss is taken on something else, weights are detached and
    thrown away, a learning rate of zero.
    Remedy: see that `step` returns the new weights, and that `predict` uses `fast`, not `meta`.
    """
    learner, tasks = case.learner(), case.tasks(4)
    other = tasks._replace(support=Batch(tasks.support.x, tasks.support.y.roll(1, dims=1)))
    moved, _ = gap(predictions(learner, tasks), predictions(case.learner(), other))
    if moved < 1e-9:
        at = where(*plugin_functions(learner))
        raise FailureError(
            f"with the support labels moved round the predictions changed by {moved:.1g}",
            f"`step` does not use `support.y`, or `predict` uses `meta` instead of `fast`{at}",
        )


def adapts(case: Case) -> None:
    """Inner steps lower the support loss, or set out downhill, or lower the query loss once trained.

    16 tasks, three inner steps from the initial weights. Where the loss rises, a hundredth of the first step is
    tried, which tells a wrong direction from a step too far; where that rises too, the query loss after 60 updates.
    Why: meta-training makes the best of an inner loop that climbs, so the outer loss shows nothing.
    Typical causes: `w + lr * g` for `w - lr * g`, the gradient of a score for that of a loss, a far too large step.
    Remedy: turn the sign of the inner step, or make `inner_lr` smaller.
    """
    learner, tasks = case.learner(), case.tasks(16)
    before, after = losses(case, learner, tasks, "support")
    if after <= before or sets_out_downhill(case, learner, tasks):
        return
    if learner.trainable:
        for i in range(60):
            learner.update(copied(tasks), i / 60)
        trained_before, trained_after = losses(case, learner, tasks, "query")
        if trained_after < trained_before:
            return
    raise FailureError(
        f"three inner steps took the support loss from {before:.4g} to {after:.4g}",
        f"the sign of the inner step: `w - lr * g`{where(*plugin_functions(learner))}",
    )


def sets_out_downhill(case: Case, learner: Learner, tasks: Task) -> bool:
    """Whether a hundredth of the first inner step lowers the support loss; not to be seen of a Learner of its own."""
    if not isinstance(learner, BatchedLearner):
        return False
    inner, meta = learner.algorithm.inner, learner.meta

    def loss(fast: Tree, support: Batch) -> float:
        return float(case.suite.loss(partial(inner.predict, meta, fast), support))

    def change(support: Batch) -> float:
        begin = inner.start(meta, support)
        moved = map_tree(lambda old, new: old + 0.01 * (new - old), begin, inner.step(meta, begin, support, 0))
        return loss(moved, support) - loss(begin, support)

    with torch.no_grad():
        supports = [Batch(x, y) for x, y in zip(*copied(tasks.support))]
        return sum(change(support) for support in supports) < 0


def one(tasks: Task) -> Task:
    """The first of many tasks."""
    return map_tree(lambda leaf: leaf[0].clone(), tasks)


CHECKS = (
    Check("runs", runs),
    Check("float64-kept", float64_kept, ("runs",)),
    Check("tasks-isolated", tasks_isolated, ("runs", "float64-kept")),
    Check("inputs-untouched", inputs_untouched, ("runs",)),
    Check("learner-untouched", learner_untouched, ("runs",)),
    Check("query-unread", query_unread, ("runs",)),
    Check("support-matters", support_matters, ("runs",)),
    Check("adapts", adapts, ("runs", "support-matters")),
)
