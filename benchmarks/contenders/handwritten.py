"""What a careful researcher writes by hand in plain PyTorch: a loop over tasks, and torch.func over all of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from benchmarks.contenders import tensors
from benchmarks.workloads import Arrays, Workload

Weights = dict[str, Tensor]


class Handwritten(tensors.OnTorch):
    """The module, its tasks and its outer optimiser; torch's own threads, one a core."""

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        self.threads = threads
        torch.set_num_threads(threads)
        self.workload, self.arrays = workload, arrays
        self.tasks = tensors.Tasks(arrays)
        self.module = tensors.module(workload, arrays)
        self.optimizer = tensors.outer(workload, list(self.module.parameters()))

    def loss(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        """The loss of some weights on one task's points."""
        return tensors.loss(functional_call(self.module, weights, (x,)), y)

    def fill(self) -> None:
        """Put the mean direction over the tasks into the parameters' `.grad`."""
        raise NotImplementedError

    def gradient(self) -> dict[str, np.ndarray]:
        """See Contender."""
        tensors.put(self.module, self.arrays)
        self.fill()
        return tensors.gradients(self.module)

    def update(self) -> None:
        """See Contender."""
        self.fill()
        self.optimizer.step()


class Loop(Handwritten):
    """Task by task with torch.autograd; each task's graph is let go before the next one's is built."""

    def fill(self) -> None:
        """See Handwritten."""
        self.optimizer.zero_grad()
        weights = dict(self.module.named_parameters())
        for support_x, support_y, query_x, query_y in self.tasks.each():
            if self.workload.algorithm == "reptile":
                self.towards(self.descend(weights, support_x, support_y))
                continue
            second_order = self.workload.algorithm == "maml"
            adapted = self.unroll(weights, support_x, support_y, second_order)
            (self.loss(adapted, query_x, query_y) / len(self.tasks)).backward()

    def unroll(self, weights: Weights, x: Tensor, y: Tensor, second_order: bool) -> Weights:
        """The weights after the inner steps, by torch.autograd."""
        for _ in range(self.workload.inner_steps):
            slopes = torch.autograd.grad(self.loss(weights, x, y), list(weights.values()), create_graph=second_order)
            steps = zip(weights.items(), slopes)
            weights = {name: weight - self.workload.inner_lr * slope for (name, weight), slope in steps}
        return weights

    def descend(self, weights: Weights, x: Tensor, y: Tensor) -> Weights:
        """The inner steps with a new graph for each."""
        for _ in range(self.workload.inner_steps):
            leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            slopes = torch.autograd.grad(self.loss(leaves, x, y), list(leaves.values()))
            steps = zip(leaves.items(), slopes)
            weights = {name: leaf.detach() - self.workload.inner_lr * slope for (name, leaf), slope in steps}
        return weights

    @torch.no_grad()
    def towards(self, ends: Weights) -> None:
        """Add Reptile's direction for one task."""
        for name, weight in self.module.named_parameters():
            step = (weight - ends[name]) / len(self.tasks)
            weight.grad = step if weight.grad is None else weight.grad.add_(step)

    def adapt(self) -> np.ndarray:
        """See Contender; the graph of a step is let go before the next."""
        support_x, support_y, query_x, _ = self.tasks.each()[0]
        fast = self.descend(dict(self.module.named_parameters()), support_x, support_y)
        with torch.no_grad():
            return functional_call(self.module, fast, (query_x,)).numpy()


class Vmap(Handwritten):
    """All tasks at once: torch.func's grad under its vmap."""

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        super().__init__(workload, arrays, threads)
        directions = {"maml": grad(self.objective), "fomaml": self.first_order, "reptile": self.reptile}
        self.directions = vmap(directions[workload.algorithm], in_dims=(None, 0, 0, 0, 0))

    def inner(self, weights: Weights, x: Tensor, y: Tensor) -> Weights:
        """The weights after the inner steps, by torch.func."""
        for _ in range(self.workload.inner_steps):
            slopes = grad(self.loss)(weights, x, y)
            weights = {name: weight - self.workload.inner_lr * slopes[name] for name, weight in weights.items()}
        return weights

    def objective(self, weights: Weights, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        """MAML: the query loss after the inner steps."""
        return self.loss(self.inner(weights, x, y), query_x, query_y)

    def first_order(self, weights: Weights, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Weights:
        """First-order MAML: the query gradient at the adapted weights."""
        return grad(self.loss)(self.inner(weights, x, y), query_x, query_y)

    def reptile(self, weights: Weights, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Weights:
        """Reptile: from the adapted weights to the initial ones."""
        ends = self.inner(weights, x, y)
        return {name: weight - ends[name] for name, weight in weights.items()}

    def fill(self) -> None:
        """See Handwritten."""
        tasks = self.tasks
        weights = {name: weight.detach() for name, weight in self.module.named_parameters()}
        means = self.directions(weights, tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y)
        for name, weight in self.module.named_parameters():
            weight.grad = means[name].mean(0)

    def adapt(self) -> np.ndarray:
        """See Contender."""
        support_x, support_y, query_x, _ = self.tasks.each()[0]
        weights = {name: weight.detach() for name, weight in self.module.named_parameters()}
        return functional_call(self.module, self.inner(weights, support_x, support_y), (query_x,)).numpy()
