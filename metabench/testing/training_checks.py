"""The checks of how an algorithm is meta-trained. `--explain` shows their docstrings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from metabench.api.trees import flatten, unflatten
from metabench.engine.learner import exact_gradient
from metabench.engine.seeds import random_generator
from metabench.errors import NotApplicableError
from metabench.registry.parameters import Parameter, signature_of
from metabench.testing.adaptation_checks import one
from metabench.testing.cases import (
    Case,
    after_updates,
    copied,
    gap,
    losses,
    plugin_functions,
    predictions,
    require_equal,
    train,
)
from metabench.testing.checks import Check, FailureError, where

RATES = ("inner_lr", "outer_lr")


def batched_equals_loop(case: Case) -> None:
    """Updates and predictions do not depend on how tasks are batched.

    Three updates and an adaptation by torch.vmap over four tasks, and the same task by task, in float64.
    Why: the harness takes the quickest way on each machine, and no result may hang on it.
    Typical causes: a function that asks whether it is batched, a random draw in a step, state kept between calls,
    a shape read as if there were a task axis.
    Remedy: functions of ONE task, of their arguments alone.
    """
    algorithm = case.algorithm()
    results = {name: after_updates(case.learner(name), case, 3) for name in ("vectorised", "threaded")}
    at = where(algorithm.inner.step, algorithm.inner.start, algorithm.objective)
    cause = f"a function of more than its arguments{at}"
    words = ("results by torch.vmap and task by task", cause)
    require_equal(results["vectorised"], results["threaded"], 1e-8, words)


def gradient_exact(case: Case) -> None:
    """Where an objective is claimed, its gradient is exact: central differences in float64 agree.

    Ten random directions through the meta-parameters, at the initial weights, on one task.
    Why: an objective is a claim of second order; a first-order gradient is another algorithm with another name.
    Typical causes: `.detach()`, `torch.no_grad()`, `.data` or `float()` in `step` or `objective`.
    Remedy: take the detach out; or, if first order is meant, give `meta_grad` instead of `objective`.
    """
    algorithm = case.algorithm()
    if algorithm.objective is None:
        raise NotApplicableError("it claims no objective")
    tasks = case.tasks(1)
    meta = algorithm.init()
    with torch.no_grad():
        _, gradient = (algorithm.meta_grad or exact_gradient(algorithm))(meta, one(tasks), 0.5)
        leaves, spec = flatten(meta)
        generator = random_generator("kit", "directions")
        for _ in range(10):
            direction = [
                torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) / leaf.numel() ** 0.5
                for leaf in leaves
            ]
            claimed = sum(float((g * d).sum()) for g, d in zip(flatten(gradient)[0], direction, strict=True))
            ends = []
            for sign in (1, -1):
                moved = [leaf + sign * 1e-5 * d for leaf, d in zip(leaves, direction, strict=True)]
                ends.append(float(algorithm.objective(unflatten(moved, spec), one(tasks), 0.5)))
            measured = (ends[0] - ends[1]) / 2e-5
            if abs(claimed - measured) > 1e-6 + 1e-4 * abs(measured):
                at = where(algorithm.inner.step, algorithm.objective)
                raise FailureError(
                    f"along a random direction the gradient says {claimed:.6g}, and finite differences of the "
                    f"objective {measured:.6g}",
                    f"a `detach` or `no_grad` on the way{at}; if first order is meant, give `meta_grad`",
                )


def support_trains(case: Case) -> None:
    """Meta-training reads the support set: with that of another task it takes another direction.

    The direction on a task is compared with that on the same query set beside another task's support set.
    Why: adapting to `task.query` in the objective trains on what is then asked, and scores show it as poor transfer.
    Typical causes: `unroll(inner, meta, task.query, steps)`, the loss of `meta` for that of the adapted weights.
    Remedy: adapt to `task.support`, take the loss on `task.query`.
    """
    algorithm = case.algorithm()
    if algorithm.objective is None and algorithm.meta_grad is None:
        raise NotApplicableError("nothing is meta-trained")
    direction = algorithm.meta_grad or exact_gradient(algorithm)
    mine, other = one(case.tasks(1)), one(case.tasks(1, "others"))
    meta = algorithm.init()
    with torch.no_grad():
        first, second = (direction(meta, mine._replace(support=part.support), 0.5)[1] for part in (mine, other))
    if gap(first, second)[0] == 0.0:
        raise FailureError(
            "the direction is the same to the last bit",
            f"`task.query` where `task.support` is meant{where(algorithm.meta_grad, algorithm.objective)}",
        )


def learns(case: Case) -> None:
    """Meta-training lowers its own loss, or the query loss after adaptation, on the tasks that it sees.

    Up to 60 updates on the same 16 tasks; fewer where 20 or 40 lower both.
    Why: everything else holds for an algorithm that goes nowhere, too.
    Typical causes: the sign of `meta_grad` (it is the direction to step AGAINST), a bad outer step size.
    Remedy: turn the sign, or change `outer_lr` or `optimizer`.
    """
    learner, tasks = case.trainable(), case.tasks(16)
    _, before = losses(case, learner, tasks, "query")
    seen: list[float] = []
    for _ in range(3):
        seen += [float(learner.update(copied(tasks), i / 60)) for i in range(len(seen), len(seen) + 20)]
        _, after = losses(case, learner, tasks, "query")
        first, last = (sum(part) / 10 for part in (seen[:10], seen[-10:]))
        if after < before and last < first:
            return
    if not (after < before or last < first):
        functions = plugin_functions(learner)
        raise FailureError(
            f"60 updates took the query loss from {before:.4g} to {after:.4g}, and the loss that an update returns "
            f"from {first:.4g} to {last:.4g}",
            f"the sign of `meta_grad`, which is the direction to step against{where(*functions[:1:-1], *functions)}",
        )


def learning_rates(case: Case) -> None:
    """A parameter named inner_lr or outer_lr changes the result.

    Three updates and an adaptation at the default, at twice and at half of it; both others must not be the same bits.
    Why: a user who sets it, a sweep over it and the record that names it all take it at its word.
    Typical causes: the parameter is not passed on (`sgd(problem, 0.01)`, `torch.optim.Adam` without `lr=outer_lr`).
    Remedy: pass it on, or take it out of the signature.
    """
    factory: Any = case.factory
    given = {}
    if isinstance(factory, partial):  # where parameters were set by hand
        factory, given = factory.func, factory.keywords
    try:
        rates = rates_of(signature_of(factory, 1), given)
    except (ValueError, TypeError, NameError):
        rates = {}
    if not rates:
        raise NotApplicableError("it has no parameter inner_lr or outer_lr")
    base = after_updates(case.learner(), case, 3)
    for name, value in rates.items():
        if all(
            torch.equal(base, after_updates(case.learner("auto", 1, **{name: value * factor}), case, 3))
            for factor in (2.0, 0.5)
        ):
            raise FailureError(
                f"{name}={value:g}, {2 * value:g} and {value / 2:g} give the same bits",
                f"`{name}` is not passed on{where(case.factory)}",
            )


def rates_of(schema: dict[str, Parameter], given: Mapping[str, Any]) -> dict[str, float]:
    """The learning rates among the parameters, as given or by default."""
    found = {name: given.get(name, schema[name].default) for name in RATES if name in schema}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float) and value}


def state_round_trip(case: Case) -> None:
    """A learner that is given another's state goes on exactly as that one does.

    Three updates; the state goes to a fresh learner; then two more updates on both, with the same bits.
    Why: checkpoints, resuming and "best on validation" all go through `state_dict`.
    Typical causes: the optimiser's state, a generator or a counter that `state_dict` leaves out; tensors that keep
    the graph of the update that made them.
    Remedy: put everything that the next update depends on into `state_dict`, and back in `load_state_dict`; write
    `@torch.no_grad()` on `update`, with `torch.enable_grad()` where a gradient is taken.
    """
    learner, fresh = case.trainable(), case.learner()
    train(learner, case, 3)
    if with_graph := tensors_with_a_graph(learner.state_dict()):
        raise FailureError(
            f"the state has a graph: {', '.join(with_graph[:3])}",
            f"no `@torch.no_grad()` on `update`, and no `.detach()` in it{where(type(learner).update)}",
        )
    fresh.load_state_dict(copy.deepcopy(learner.state_dict()))
    cause = "`state_dict` leaves out what the next update depends on: the optimiser, a generator, a counter"
    cause += where(getattr(type(learner), "state_dict", None), *plugin_functions(learner)[::-1])
    mine, other = (predictions(each, case.tasks(4)) for each in (learner, fresh))
    require_equal(other, mine, 0.0, ("predictions of a learner and of one with its state", cause))
    mine, other = (after_updates(each, case, 2) for each in (learner, fresh))
    require_equal(other, mine, 0.0, ("two more updates of a learner and of one with its state", cause))


def tensors_with_a_graph(state: Any, path: str = "") -> list[str]:
    """Where in a state there are tensors that hold on to what made them."""
    if isinstance(state, torch.Tensor):
        return [path] if state.grad_fn is not None else []
    if isinstance(state, Mapping):
        pairs = list(state.items())
    else:
        pairs = list(enumerate(state)) if isinstance(state, list | tuple) else []
    return [found for key, value in pairs for found in tensors_with_a_graph(value, f"{path}.{key}".strip("."))]


CHECKS = (
    Check("support-trains", support_trains, ("runs", "support-matters")),
    Check("batched-equals-loop", batched_equals_loop, ("runs", "float64-kept")),
    Check("gradient-exact", gradient_exact, ("runs", "float64-kept")),
    Check("learns", learns, ("runs",)),
    Check("learning-rates", learning_rates, ("runs", "support-matters")),
    Check("state-round-trip", state_round_trip, ("runs",)),
)
