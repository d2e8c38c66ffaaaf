"""Gradients of scalar functions of a tree of tensors, written once for one task and right under every strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from metabench.api.trees import Tree, flatten, unflatten


def value_and_grad(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tree]]:
    """`function(tree, *args) -> scalar` becomes `(tree, *args) -> (scalar, gradient by tree)`.

    Calls nest: the gradient is differentiable again wherever an outer `value_and_grad` asks for it. Inside
    `torch.vmap` it is `torch.func.grad_and_value`; outside it is `torch.autograd.grad`, which costs less
    around convolutions.
    """

    def differentiated(tree: Tree, *args: Any) -> tuple[Tensor, Tree]:
        if torch._C._are_functorch_transforms_active():
            gradient, value = torch.func.grad_and_value(function)(tree, *args)
            return value, gradient
        differentiable = torch.is_grad_enabled()
        leaves, spec = flatten(tree)
        with torch.enable_grad():
            # A view is a node of its own: what else depends on the leaf, another leaf even, does not count.
            leaves = [
                leaf.view_as(leaf) if differentiable and leaf.requires_grad else leaf.detach().requires_grad_()
                for leaf in leaves
            ]
            value = function(unflatten(leaves, spec), *args)
            if not value.requires_grad:
                return value, unflatten([torch.zeros_like(leaf) for leaf in leaves], spec)
            gradients = torch.autograd.grad(
                value, leaves, create_graph=differentiable, allow_unused=True, materialize_grads=True
            )
        if differentiable and watched.get():
            refuse_once_differentiable(gradients)
        return value if differentiable else value.detach(), unflatten(list(gradients), spec)

    return differentiated


watched: ContextVar[bool] = ContextVar("watched", default=False)
"""Whether gradients that are differentiated again are looked through for what torch passes over in silence."""


def refuse_once_differentiable(gradients: Iterable[Tensor]) -> None:
    """Raise RuntimeError where a function marked `once_differentiable` is on the way.

    torch raises where the derivative is asked for by itself; among others it takes such a gradient for a constant.
    """
    waiting, seen = [gradient.grad_fn for gradient in gradients], set()
    while waiting:
        node = waiting.pop()
        if type(node).__name__ == "Error":
            raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [each for each, _ in node.next_functions]


def grad(function: Callable[..., Tensor]) -> Callable[..., Tree]:
    """`value_and_grad` without the value."""

    def gradient(tree: Tree, *args: Any) -> Tree:
        return value_and_grad(function)(tree, *args)[1]

    return gradient
