"""A model without its head, as an embedding: what algorithms share that put a head of their own there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from metabench.api import NotApplicableError, Params, Problem


def ways_of(problem: Problem) -> int:
    """The classes of a task; raises NotApplicableError where targets are no classes."""
    if problem.ways is None:
        raise NotApplicableError(
            "it is for classification, and the suite gives its tasks no number of classes (`ways`)"
        )
    return problem.ways


def refuse_policies(problem: Problem) -> None:
    """Raise NotApplicableError where a support set is not of points with targets, but of trajectories to come."""
    if problem.acting is not None:
        raise NotApplicableError("it reads points and their targets, and policies make their own")


def body_of(problem: Problem) -> Problem:
    """The problem of the body alone, whose `apply` gives features (s, d).

    Raises NotApplicableError for a model without a body.
    """
    if len(problem.init()) == len(problem.head):
        raise NotApplicableError("it needs a model of more than one layer")
    head = head_layer(problem)
    return problem.wrap(lambda module: with_layer(module, head, nn.Flatten()))


def features_of(problem: Problem) -> tuple[Params, Callable[[Params, Tensor], Tensor]]:
    """The body's initial weights and its features (s, d); of a model that is nothing but a head, the inputs.

    Raises NotApplicableError for a model whose body is frozen.
    """
    if len(problem.init()) == len(problem.head):
        if len(problem.module().state_dict()) > len(problem.head):
            raise NotApplicableError("every layer of the model but the last is frozen")
        return {}, lambda weights, x: x.flatten(1)
    body = body_of(problem)
    return body.init(), body.apply


def head_layer(problem: Problem) -> str:
    """The name of the last layer; raises NotApplicableError where it is not one module that can be replaced."""
    found = [name for name, weights in problem.layers.items() if name and set(weights) == set(problem.head)]
    if not found:
        raise NotApplicableError(f"its last layer is not one module, but all of {', '.join(problem.head)}")
    return found[-1]


def linear_head(problem: Problem, ways: int) -> tuple[str, str]:
    """The names of the head's weight (ways, d) and bias; raises NotApplicableError where it has not just these."""
    weights = problem.init()
    tied = [name for name in problem.head if sum(name in own for own in problem.layers.values()) > 1]
    if tied or [(len(weights[name]), weights[name].dim()) for name in problem.head] != [(ways, 2), (ways, 1)]:
        raise NotApplicableError(f"it needs a linear last layer of its own weights, with a bias and {ways} outputs")
    return problem.head[0], problem.head[1]


def with_layer(module: nn.Module, path: str, layer: nn.Module) -> nn.Module:
    """The module with another layer in the place of that name; a head of features (s, d) is `nn.Flatten()`."""
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)
    return module


def one_hot(y: Tensor, ways: int, like: Tensor) -> Tensor:
    """Classes (s,) as rows (s, ways) of zeros and a one, in the dtype of `like`."""
    return (y[:, None] == torch.arange(ways, device=y.device)).to(like.dtype)


def class_means(features: Tensor, y: Tensor, ways: int) -> Tensor:
    """The mean of each class (ways, d) of features (s, d): prototypes. Zero for a class without a point."""
    member = one_hot(y, ways, features)
    return (member.T @ features) / member.sum(0).clamp(min=1)[:, None]
