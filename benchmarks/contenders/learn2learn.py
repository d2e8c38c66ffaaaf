"""learn2learn, used as its own examples use it: clone, adapt, backward, task by task.

Arnold et al. 2020, "learn2learn: A Library for Meta-Learning Research", arXiv 2008.12284.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from benchmarks.contenders import Unsupported, tensors
from benchmarks.workloads import Arrays, Workload

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from learn2learn.algorithms import MAML


class Learn2learn(tensors.OnTorch):
    """`learn2learn.algorithms.MAML` around the module; torch's own threads, one a core."""

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        if workload.algorithm == "reptile":
            raise Unsupported("learn2learn has no Reptile wrapper")
        self.threads = threads
        torch.set_num_threads(threads)
        self.workload, self.arrays = workload, arrays
        self.tasks = tensors.Tasks(arrays)
        self.maml = MAML(
            tensors.module(workload, arrays), lr=workload.inner_lr, first_order=workload.algorithm == "fomaml"
        )
        self.optimizer = tensors.outer(workload, list(self.maml.parameters()))

    def fill(self) -> None:
        """Put the mean gradient over the tasks into the parameters' `.grad`."""
        self.optimizer.zero_grad()
        for support_x, support_y, query_x, query_y in self.tasks.each():
            learner = self.maml.clone()
            for _ in range(self.workload.inner_steps):
                learner.adapt(tensors.loss(learner(support_x), support_y))
            tensors.loss(learner(query_x), query_y).backward()
        for weight in self.maml.parameters():
            weight.grad.mul_(1 / len(self.tasks))

    def gradient(self) -> dict[str, np.ndarray]:
        """See Contender."""
        tensors.put(self.maml.module, self.arrays)
        self.fill()
        return tensors.gradients(self.maml.module)

    def update(self) -> None:
        """See Contender."""
        self.fill()
        self.optimizer.step()

    def adapt(self) -> np.ndarray:
        """See Contender."""
        support_x, support_y, query_x, _ = self.tasks.each()[0]
        learner = self.maml.clone()
        for _ in range(self.workload.inner_steps):
            learner.adapt(tensors.loss(learner(support_x), support_y), first_order=True)
        with torch.no_grad():
            return learner(query_x).numpy()
