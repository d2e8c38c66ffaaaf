"""Data that depend on who acts: collected between inner steps, so that each step has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, NoReturn

import torch

from metabench.api.acting import CollectFn
from metabench.api.contract import Batch, Fast, InnerLoop, Meta, Predict, Suite, Task
from metabench.api.trees import Tree, map_tree, stack
from metabench.errors import NotApplicableError


class Collector(NamedTuple):
    """How n tasks are adapted where a suite collects. Nothing is kept to differentiate it."""

    collect: CollectFn
    points: int
    """Of the support set as it was sampled, that an inner step takes; 0 takes all."""
    map: Callable[..., Tree]
    """`(function of one task, *trees)`: the results for n tasks, stacked."""

    @torch.no_grad()
    def trajectory(self, inner: InnerLoop, meta: Meta, support: Batch, steps: int) -> Iterator[tuple[Fast, Batch]]:
        """Fast of n tasks, before the first of `steps` inner steps and after each, and what the step before it met.

        Before the first it is the support set as it was sampled.
        """
        fast, met = self.map(lambda y: inner.start(meta, Unseen()), support.y), support  # type: ignore[arg-type]
        yield fast, met
        for i in range(steps):
            met = self.batches(inner, meta, fast, self.part(support, i))
            fast = self.map(lambda one, batch, i=i: inner.step(meta, one, batch, i), fast, met)
            yield fast, met

    @torch.no_grad()
    def tasks(self, inner: InnerLoop, meta: Meta, tasks: Task, steps: int | None = None) -> Task:
        """n tasks to learn from: what each inner step met, and then the query set. There are as many steps as the
        support set has points for, where that is not said."""
        rounds = tasks.support.x.shape[1] // self.points if self.points else 1
        _, *path = self.trajectory(inner, meta, tasks.support, steps or rounds)
        support = Batch(*(torch.cat(leaves, 1) for leaves in zip(*(met for _, met in path), strict=True)))
        return Task(support, self.batches(inner, meta, path[-1][0], tasks.query))

    def part(self, support: Batch, i: int) -> Batch:
        """What inner step i is given of n support sets as they were sampled: as `minibatch` does it for one."""
        count = support.x.shape[1]
        size = self.points or count
        rows = torch.arange(i * size, (i + 1) * size, device=support.x.device) % count
        return Batch(support.x[:, rows], support.y[:, rows])

    def batches(self, inner: InnerLoop, meta: Meta, fast: Fast, batch: Batch) -> Batch:
        """What n adapted predictors meet, one after the other."""
        found = [
            self.collect(partial(inner.predict, meta, map_tree(lambda leaf, i=i: leaf[i], fast)), Batch(x, y))
            for i, (x, y) in enumerate(zip(*batch, strict=True))
        ]
        stacked: Batch = stack(found)
        return stacked


class Unseen:
    """In place of a support set that is collected later."""

    def refuse(self, *args: object) -> NoReturn:
        """Raise NotApplicableError, whatever is asked for."""
        raise NotApplicableError("it needs the support set before the first inner step, and here that is collected")

    __getattr__ = __getitem__ = __iter__ = __len__ = refuse


@torch.no_grad()
def collected(suite: Suite, predict: Predict, batch: Batch) -> Batch:
    """What loss and metrics are given of one task's batch as it was sampled."""
    return suite.collect(predict, batch) if suite.collect else batch
