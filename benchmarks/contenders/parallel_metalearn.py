"""parallel-metalearn 0.5.6 (import name `metalearn`), as its README builds a learner.

Same mathematics as the others with: step sizes that are not learnt (`learn_lr=False`), no label encoder (it shuffles
the classes), BatchNorm without running statistics and with the same epsilon, a squared error of our own for
regression, which it has no loss for. Its translator of torch modules does not work with BatchNorm (it passes
arguments that its own layer does not take), so its layers are put in here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from metalearn import algorithms
from metalearn.inner_optimizers import InnerSGD
from metalearn.loss import CategoricalAccuracy, CrossEntropy
from metalearn.loss.base import BaseLoss
from metalearn.model_wrappers import MAML_Model
from metalearn.nn_models.basic_layers.BatchNormalization import BatchNorm
from torch import Tensor, nn

from benchmarks.contenders import tensors
from benchmarks.workloads import Arrays, Workload


class ParallelMetalearn(tensors.OnTorch):
    """Its MAML (second or first order) or Reptile; torch's own threads, one a core."""

    backend = "vmap"

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        self.threads = threads
        torch.set_num_threads(threads)
        self.workload, self.arrays = workload, arrays
        made = tensors.module(workload, arrays)
        self.model = MAML_Model(backbone=Body(made), head=Head(made.head))
        self.initial = [weight.detach().clone() for weight in self.model.parameters()]
        criterion = SquaredError() if workload.ways == 0 else CrossEntropy(metric_fn=CategoricalAccuracy())
        reptile = workload.algorithm == "reptile"
        self.learner = (algorithms.Reptile if reptile else algorithms.MAML)(
            model=self.model,
            optimizer=tensors.outer(workload, list(self.model.parameters())),
            inner_optimizer=InnerSGD(
                initial_fast_weights=self.model.get_fast_weights(),
                inner_lr=workload.inner_lr,
                first_order=workload.algorithm != "maml",
                max_inner_steps=workload.inner_steps,
                learn_lr=False,
            ),
            support_loss_fn=criterion,
            inner_steps=workload.inner_steps,
            chunk_size=workload.tasks,
            device=torch.device("cpu"),
            backend=self.backend,
        )
        tasks = tensors.Tasks(arrays)
        self.query_x = tasks.query_x[0]
        if reptile:  # its step also reports a loss on the query set: one point keeps that small
            tasks.query_x, tasks.query_y = tasks.query_x[:, :1], tasks.query_y[:, :1]
        support_y, query_y = {"labels": tasks.support_y}, {"labels": tasks.query_y}
        self.batch = (tasks.support_x, support_y, tasks.query_x, query_y)
        self.support = (tasks.support_x[0], {"labels": tasks.support_y[0]})

    def reset(self) -> None:
        """Back to the initial weights."""
        with torch.no_grad():
            for weight, value in zip(self.model.parameters(), self.initial):
                weight.copy_(value)

    def gradient(self) -> dict[str, np.ndarray]:
        """See Contender; what its step leaves in `.grad`."""
        self.reset()
        self.update()
        return {short(name): weight.grad.numpy().copy() for name, weight in self.model.named_parameters()}

    def update(self) -> None:
        """See Contender."""
        self.learner.step(iter([self.batch]))

    def adapt(self) -> np.ndarray:
        """See Contender; it adapts the model itself, which therefore starts from the initial weights each time."""
        self.reset()
        self.learner.adapt_and_update(*self.support)
        with torch.no_grad():
            return self.model(self.query_x, training=True)["logits"].numpy()


class Vmap(ParallelMetalearn):
    """All tasks in one vmap, its default."""


class Sequential(ParallelMetalearn):
    """Task by task, which its README recommends for many inner steps."""

    backend = "sequential"


class Body(nn.Module):
    """A torch module without its head, in the library's layers; they take keywords such as `training`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, layer in network.named_children():
            if name != "head":
                self.add_module(name, normalisation(layer) if isinstance(layer, nn.BatchNorm2d) else layer)

    def forward(self, x: Tensor, **keywords: Any) -> Tensor:
        for layer in self.children():
            x = layer(x, **keywords) if isinstance(layer, BatchNorm) else layer(x)
        return x


class Head(nn.Module):
    """The last layer, which takes those keywords too."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor, **keywords: Any) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class SquaredError(BaseLoss):
    """Mean squared error, which stands for the metric as well."""

    def forward(self, out_dict: dict, targets: dict, model_states: Any = None, **keywords: Any) -> tuple:
        error = nn.functional.mse_loss(out_dict["logits"], targets["labels"])
        return error, error.detach()


def normalisation(layer: nn.BatchNorm2d) -> BatchNorm:
    """The library's BatchNorm over the current batch."""
    return BatchNorm(layer.num_features, eps=layer.eps, track_running_stats=False)


def short(name: str) -> str:
    """A parameter's name in the torch module."""
    return name.removeprefix("backbone.")
