"""MAML for policies, its outer loop by trust regions: the published way to train one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metabench.api import (
    AlgorithmFactory,
    Batch,
    Collector,
    Learner,
    NotApplicableError,
    Params,
    Positive,
    Predict,
    Problem,
    Rate,
    Share,
    Size,
    Steps,
    Task,
    add_scaled,
    hookimpl,
    inner_product,
    map_tree,
    sgd,
    unroll,
)
from metabench_plugins.algorithms.imaml import conjugate_gradients


class Region(NamedTuple):
    """How far an update goes."""

    divergence: float
    cg_steps: int
    damping: float
    backtracks: int
    shrink: float


def maml_trpo(
    problem: Problem,
    *,
    inner_lr: Rate = 0.1,
    inner_steps: Steps = 1,
    divergence: Positive = 0.01,
    cg_steps: Size = 10,
    damping: Rate = 1e-5,
    backtracks: Size = 15,
    shrink: Share = 0.8,
) -> Learner:
    """MAML whose outer step is TRPO's: as far along the natural gradient as adapted policies may change.

    Finn et al. 2017, arXiv 1703.03400, section 5.3; Schulman et al. 2015, arXiv 1502.05477. Settings are those of
    pytorch-maml-rl; MAML's code has the same divergence. Trajectories are collected with the weights before the
    update, and the adapted policies of any others are judged on them. An update that finds no step which lowers the
    loss within the region changes nothing. Raises NotApplicableError where the suite is not one of policies.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        divergence: The most that adapted policies may change: mean KL divergence over tasks and states.
        cg_steps: Steps of conjugate gradients, which solve for the natural gradient.
        damping: Added to the curvature of the divergence.
        backtracks: Lengths that are tried, the longest first.
        shrink: Each as a share of the one before.
    """
    if problem.acting is None:
        raise NotApplicableError("it is made for suites of policies")
    return TrustRegion(problem, inner_lr, inner_steps, Region(divergence, cg_steps, damping, backtracks, shrink))


CHUNK = 4
"""Tasks that are batched at once in an update, so that what a layer gives for them stays in the processor's cache."""


class TrustRegion:
    """A Learner: see maml_trpo. Tasks are batched by vmap."""

    trainable = True
    collects = True

    def __init__(self, problem: Problem, inner_lr: float, inner_steps: int, region: Region) -> None:
        assert problem.acting
        self.acting = problem.acting
        self.criterion, self.region, self.inner_steps = problem.criterion, region, inner_steps
        self.inner = sgd(problem, inner_lr)
        self.collector = Collector(self.acting.collect, problem.step_points, vmapped)
        self.weights = problem.init()

    def judge(self, meta: Params, met: Task) -> tuple[Tensor, Tensor]:
        """Adapted policies on the query trajectories of n tasks: their mean loss, and outputs for all seen."""

        def one(task: Task) -> tuple[Tensor, Tensor]:
            predict = partial(self.inner.predict, meta, unroll(self.inner, meta, task.support, self.inner_steps))
            return self.criterion(predict, task.query), predict(task.query.x.flatten(0, 1))

        losses, outputs = torch.vmap(one, chunk_size=CHUNK)(met)
        return losses.mean(), outputs

    def update(self, tasks: Task, progress: float) -> Tensor:
        """See Learner."""
        region = self.region
        met = self.collector.tasks(self.inner, self.weights, tasks, self.inner_steps)
        with torch.enable_grad():
            leaves = map_tree(lambda weight: weight.detach().requires_grad_(), self.weights)
            loss, now = self.judge(leaves, met)
            gradient = by_name(leaves, torch.autograd.grad(loss, tuple(leaves.values()), retain_graph=True))
            before = now.detach()
            probe = torch.zeros_like(before, requires_grad=True)
            back = torch.autograd.grad(now, tuple(leaves.values()), probe, create_graph=True)
            place = before.clone().requires_grad_()
            slope = torch.autograd.grad(self.acting.divergence(before, place), place, create_graph=True)

        def curve(along: Params) -> Params:
            """Of the divergence, which is flat here: by what outputs change, with no third derivative of anything."""
            forth = torch.autograd.grad(back, probe, tuple(along.values()), retain_graph=True)
            bent = torch.autograd.grad(slope, place, forth, retain_graph=True)
            product = torch.autograd.grad(now, tuple(leaves.values()), bent, retain_graph=True)
            return add_scaled(by_name(leaves, product), along, region.damping)

        way = conjugate_gradients(curve, gradient, region.cg_steps)
        length = (2 * region.divergence / inner_product(way, curve(way))).sqrt()
        loss = loss.detach()
        with torch.no_grad():
            for attempt in range(region.backtracks):
                moved = add_scaled(self.weights, way, -length * region.shrink**attempt)
                lower, outputs = self.judge(moved, met)
                if lower < loss and self.acting.divergence(before, outputs) <= region.divergence:
                    self.weights = moved
                    break
        return loss

    @torch.no_grad()
    def adapt(self, support: Batch, steps: int) -> Iterator[Sequence[Predict]]:
        """See Learner."""
        meta = self.weights
        for fast, _ in self.collector.trajectory(self.inner, meta, support, steps):
            each = (map_tree(lambda leaf, i=i: leaf[i], fast) for i in range(len(support.x)))
            yield [partial(self.inner.predict, meta, one) for one in each]

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        self.weights = {name: state["weights"][name].to(weight) for name, weight in self.weights.items()}


def vmapped(function: Any, *trees: Any) -> Any:
    """The results for n tasks, stacked."""
    return torch.vmap(function)(*trees)


def by_name(weights: Params, values: Sequence[Tensor]) -> Params:
    """Values in the order of the weights, by their names."""
    return dict(zip(weights, values, strict=True))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"maml-trpo": maml_trpo}
