"""A model without its head, as an embedding: what algorithms share that put a head of their own there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.api import NotApplicableError, Problem


def ways_of(problem: Problem) -> int:
    """The classes of a task; raises NotApplicableError where targets are no classes."""
    if problem.ways is None:
        raise NotApplicableError(
            "it is for classification, and the suite gives its tasks no number of classes (`ways`)"
        )
    return problem.ways


def body_of(problem: Problem) -> Problem:
    """The problem of the body alone, whose `apply` gives features (s, d).

    Raises NotApplicableError for a model without a body.
    """
    if len(problem.init()) == len(problem.head):
        raise NotApplicableError("it needs a model of more than one layer")
    return problem.wrap(lambda module: without_head(module, problem.head))


def without_head(module: nn.Module, head: tuple[str, ...]) -> nn.Module:
    """The module, its last layer replaced by one that flattens features to (s, d)."""
    path, _, name = head[0].rpartition(".")[0].rpartition(".")
    setattr(module.get_submodule(path), name, nn.Flatten())
    return module


def one_hot(y: Tensor, ways: int, like: Tensor) -> Tensor:
    """Classes (s,) as rows (s, ways) of zeros and a one, in the dtype of `like`."""
    return (y[:, None] == torch.arange(ways, device=y.device)).to(like.dtype)


def class_means(features: Tensor, y: Tensor, ways: int) -> Tensor:
    """The mean of each class (ways, d) of features (s, d): prototypes. Zero for a class without a point."""
    member = one_hot(y, ways, features)
    return (member.T @ features) / member.sum(0).clamp(min=1)[:, None]
