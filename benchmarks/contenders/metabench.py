"""Metabench itself: its plugins, lifted to many tasks by each of its strategies."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from benchmarks.contenders import Unsupported, tensors
from benchmarks.workloads import Arrays, Workload
from metabench.api import Algorithm, Batch, Predict, Problem, Suite, Task
from metabench.api.trees import map_tree
from metabench.engine.learner import BatchedLearner, adapt_fully, as_learner
from metabench.engine.problem import build_problem
from metabench_plugins.algorithms.fomaml import fomaml
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.algorithms.reptile import reptile


class Metabench:
    """A plugin's algorithm, lifted as in a trial: torch's kernels have one thread, whole tasks may have more."""

    strategy = ""
    rematerialise = plain_layers = False

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        torch.set_num_threads(1)
        self.workload = workload
        tasks = tensors.Tasks(arrays)
        self.tasks = tasks_of(workload, tasks)
        self.learner = self.lifted(algorithm(workload, problem(workload, arrays)), threads)
        pieces = math.ceil(workload.tasks / getattr(self.learner.strategy, "chunk", 1))
        self.cores = min(threads, pieces)
        self.initial = copy.deepcopy(self.learner.state_dict())
        self.support, self.query_x = Batch(tasks.support_x[:1], tasks.support_y[:1]), tasks.query_x[0]

    def lifted(self, made: Algorithm, threads: int) -> BatchedLearner:
        """The learner, ready to be timed. Raises Unsupported where the strategy gave way to another one."""
        learner = as_learner(made, self.strategy, threads, self.rematerialise, self.plain_layers)
        assert isinstance(learner, BatchedLearner)
        learner.prepare(self.tasks)
        if learner.strategy.problem:
            raise Unsupported(learner.strategy.problem)
        return learner

    def gradient(self) -> dict[str, np.ndarray]:
        """See Contender: read off the timed update itself, which begins anew at the initial weights.

        Adam's first moment is then its share of the gradient; plain gradient descent with rate 1 subtracts it.
        """
        self.learner.load_state_dict(copy.deepcopy(self.initial))
        before = {name: leaf.clone() for name, leaf in self.learner.meta.items()}
        self.update()
        outer = self.learner.outer
        group = outer.optimizer.param_groups[0]
        if "betas" not in group:
            return {name: (before[name] - leaf).numpy() for name, leaf in self.learner.meta.items()}
        moments = (outer.optimizer.state[leaf]["exp_avg"] for leaf in outer.leaves)
        return {name: (each / (1 - group["betas"][0])).numpy() for name, each in zip(before, moments, strict=True)}

    def update(self) -> None:
        """See Contender."""
        self.learner.update(self.tasks, 0.0)

    def settle(self) -> int:
        """See Contender: nothing is tried out."""
        return self.cores

    def adapt(self) -> np.ndarray:
        """See Contender."""
        predict = adapt_fully(self.learner, self.support, self.workload.inner_steps)[0]
        with torch.no_grad():
            return predict(self.query_x).numpy()


class Vectorised(Metabench):
    """vmap over chunks of tasks."""

    strategy = "vectorised"


class Compiled(Metabench):
    """The whole update as one program. Raises Unsupported for convolutions, which take minutes to compile."""

    strategy = "compiled"

    def lifted(self, made: Algorithm, threads: int) -> BatchedLearner:
        """See Metabench."""
        if self.workload.image_size:
            raise Unsupported("left out: minutes of compilation, and slower than threaded (see 'What was tried')")
        return super().lifted(made, threads)


class Threaded(Metabench):
    """A task a thread."""

    strategy = "threaded"


class PlainLayers(Threaded):
    """A task a thread, without blocks. Raises Unsupported where there are none anyway."""

    plain_layers = True

    def lifted(self, made: Algorithm, threads: int) -> BatchedLearner:
        """See Metabench."""
        learner = super().lifted(made, threads)
        if not learner.strategy.layers:
            raise Unsupported("the same as threaded")
        return learner


class Rematerialised(Threaded):
    """A task a thread, inner steps computed twice rather than kept."""

    rematerialise = True


def algorithm(workload: Workload, problem: Problem) -> Algorithm:
    """The plugin with the workload's parameters."""
    inner = {"inner_lr": workload.inner_lr, "inner_steps": workload.inner_steps}
    if workload.algorithm == "reptile":
        return reptile(problem, **inner, outer_lr=1.0)
    return {"maml": maml, "fomaml": fomaml}[workload.algorithm](problem, **inner, outer_lr=tensors.OUTER_LR)


def problem(workload: Workload, arrays: Arrays) -> Problem:
    """The workload as a suite of its own, at its initial weights."""

    def loss(predict: Predict, batch: Batch) -> torch.Tensor:
        return tensors.loss(predict(batch.x), batch.y)

    def sample(split: str, n: int, generator: torch.Generator) -> Task:
        rows = torch.arange(n) % workload.tasks
        return map_tree(lambda leaf: leaf[rows], tasks_of(workload, tensors.Tasks(arrays)))

    suite = Suite(
        sample=sample,
        model=lambda: tensors.module(workload, arrays),
        loss=loss,
        metrics=lambda predict, batch: {"loss": loss(predict, batch)},
        higher_is_better=False,
        ways=workload.ways or None,
    )
    return build_problem(suite, seed=0)


def tasks_of(workload: Workload, tasks: tensors.Tasks) -> Task:
    """The tasks as metabench has them; its Reptile joins support and query, so both are parts of the support set."""
    if workload.algorithm == "reptile":
        x, y = tasks.support_x, tasks.support_y
        return Task(Batch(x[:, :-1], y[:, :-1]), Batch(x[:, -1:], y[:, -1:]))
    return Task(Batch(tasks.support_x, tasks.support_y), Batch(tasks.query_x, tasks.query_y))
