"""Trees: nested dicts, tuples and lists of tensors. The one place that touches torch's pytree functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

Tree = Any

__all__ = ["Tree", "TreeSpec", "concatenate", "flatten", "leading_axis", "map_tree", "slices", "stack", "unflatten"]

map_tree = tree_map
unflatten = tree_unflatten


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
