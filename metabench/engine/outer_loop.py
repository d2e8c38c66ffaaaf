"""The outer loop's state: the meta-parameters and their optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metabench.api import Algorithm, Meta
from metabench.api.trees import flatten, unflatten


class OuterLoop:
    """What meta-training changes. `leaves` are the meta-parameters, in the order of their tree.

    Directions of a norm beyond `clip_norm` are cut to it, where that is not 0.
    """

    def __init__(self, algorithm: Algorithm, clip_norm: float = 0.0) -> None:
        self.algorithm = algorithm
        self.clip_norm = clip_norm
        leaves, self.spec = flatten(algorithm.init())
        self.leaves = [leaf.detach().clone(memory_format=torch.contiguous_format) for leaf in leaves]
        self.optimizer = fused(algorithm.optimizer(self.leaves))
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]

    @property
    def meta(self) -> Meta:
        """The meta-parameters as the algorithm shaped them."""
        return unflatten(self.leaves, self.spec)

    def rates(self, progress: float) -> list[float]:
        """The learning rate of each group of parameters at a progress from 0 to 1."""
        factor = self.algorithm.schedule(progress)
        return [rate * factor for rate in self.base_lrs]

    def step(self, direction: Meta, rates: list[Any]) -> None:
        """One step of the optimiser against a direction."""
        grads = flatten(direction)[0]
        if self.clip_norm:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
            grads = [grad * (self.clip_norm / norm).clamp(max=1.0) for grad in grads]
        for leaf, grad in zip(self.leaves, grads, strict=True):
            leaf.grad = grad.contiguous()  # fused Adam assumes that grad and parameter share strides
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.step()
        for leaf in self.leaves:
            leaf.grad = None  # else it would be in memory beside the next one

    def moments(self) -> list[Tensor]:
        """The optimiser's own tensors, leaf by leaf; none before its first step."""
        state = self.optimizer.state
        return [
            state[leaf][name]
            for leaf in self.leaves
            if leaf in state
            for name in sorted(state[leaf])
            if isinstance(state[leaf][name], Tensor)
        ]

    def traceable(self) -> OuterLoop:
        """A copy after a step of its own, whose next step consists of tensor operations alone."""
        copy = OuterLoop(self.algorithm, self.clip_norm)
        copy.step(unflatten([torch.ones_like(leaf) for leaf in copy.leaves], copy.spec), copy.rates(0.0))
        for group in copy.optimizer.param_groups:
            group |= {"differentiable": True, "foreach": False, "fused": None}  # the plain form of torch's optimisers
        plain = inspect.unwrap(type(copy.optimizer).step).__get__(copy.optimizer)
        copy.optimizer.step = lambda: with_float_step_counters(copy.optimizer, plain)  # type: ignore
        return copy

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"meta": self.leaves, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        self.load(state["meta"])
        self.optimizer.load_state_dict(state["optimizer"])

    def load(self, values: list[Tensor]) -> None:
        """Put meta-parameters back, leaf by leaf."""
        with torch.no_grad():
            for leaf, value in zip(self.leaves, values, strict=True):
                leaf.copy_(value)


def with_float_step_counters(optimizer: torch.optim.Optimizer, step: Callable[[], Any]) -> None:
    """A step whose counters have the dtype of the parameters while it lasts: torch keeps them in float32, and powers
    of Adam's betas would be rounded to that."""
    counters = {leaf: state["step"] for leaf, state in optimizer.state.items() if "step" in state}
    for leaf, counter in counters.items():
        optimizer.state[leaf]["step"] = counter.to(leaf.dtype)
    step()
    for leaf, counter in counters.items():
        counter.copy_(optimizer.state[leaf]["step"])
        optimizer.state[leaf]["step"] = counter


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimiser; Adam in torch's single kernel, where its author did not choose another way."""
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one too
        for group in optimizer.param_groups:
            left_open = group["fused"] is None and group["foreach"] is None
            if left_open and not group["capturable"] and not group["differentiable"]:
                group["fused"] = True
    return optimizer
