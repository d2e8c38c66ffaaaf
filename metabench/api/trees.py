"""Trees: nested dicts, tuples and lists of tensors. The one place that touches torch's pytree functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils._pytree import TreeSpec as TreeSpec
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

Tree = Any
Shaped = TypeVar("Shaped")

unflatten = tree_unflatten


def map_tree(function: Callable[..., Any], tree: Shaped, *rest: Tree) -> Shaped:
    """`function` of the leaves of one tree, or of several of one shape, leaf by leaf: a tree of that shape."""
    mapped: Shaped = tree_map(function, tree, *rest)
    return mapped


def flatten(tree: Tree) -> tuple[list[Any], TreeSpec]:
    """The leaves in a fixed order, and what is needed to put them back."""
    return tree_flatten(tree)


def leading_axis(tree: Tree) -> int:
    """The length of the axis that every leaf has first: the number of tasks."""
    return len(flatten(tree)[0][0])


def slices(tree: Tree, size: int) -> Iterator[Tree]:
    """Consecutive pieces of at most `size` along the leading axis."""
    for first in range(0, leading_axis(tree), size):
        yield tree_map(lambda leaf, first=first: leaf[first : first + size], tree)


def stack(trees: list[Tree]) -> Tree:
    """Trees of one shape, stacked along a new leading axis."""
    return tree_map(lambda *leaves: torch.stack(leaves), *trees)


def concatenate(trees: list[Tree]) -> Tree:
    """Trees of one shape, joined along their leading axis."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *leaves: torch.cat(leaves), *trees)
