"""Trees: nested dicts, tuples and lists of tensors. The one place that touches torch's pytree functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec as TreeSpec
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

Tree = Any
Shaped = TypeVar("Shaped")


class Names(tuple[str, ...]):
    """What is needed to put a flat dict back, which is what weights are: torch's functions take ten times as long."""

    __slots__ = ()


def is_flat(tree: Tree) -> bool:
    """Whether a tree is a dict of tensors."""
    return type(tree) is dict and all(isinstance(leaf, Tensor) for leaf in tree.values())


def is_tuple(kind: type) -> bool:
    """Whether it is that of tuples, or of named ones, such as a Task and a Batch."""
    return kind is tuple or (issubclass(kind, tuple) and hasattr(kind, "_make"))


def map_tree(function: Callable[..., Any], tree: Shaped, *rest: Tree) -> Shaped:
    """`function` of the leaves of one tree, or of several of one shape, leaf by leaf: a tree of that shape."""
    first: Any = tree
    kind: Any = type(first)
    if is_flat(first) and all(is_flat(other) and other.keys() == first.keys() for other in rest):
        mapped: Any = {name: function(leaf, *(other[name] for other in rest)) for name, leaf in first.items()}
    elif isinstance(first, Tensor) and all(isinstance(other, Tensor) for other in rest):
        mapped = function(first, *rest)
    elif is_tuple(kind) and all(type(other) is kind and len(other) == len(first) for other in rest):
        parts = [map_tree(function, *part) for part in zip(first, *rest)]
        mapped = tuple(parts) if kind is tuple else kind._make(parts)
    else:
        mapped = tree_map(function, tree, *rest)
    return mapped  # type: ignore[no-any-return]


def add_scaled(tree: dict[str, Tensor], other: dict[str, Tensor], scale: float | Tensor) -> dict[str, Tensor]:
    """tree + scale * other: a step of gradient descent, with minus a step size for the scale."""
    if isinstance(scale, Tensor):
        return {name: leaf + scale * other[name] for name, leaf in tree.items()}
    return {name: torch.add(leaf, other[name], alpha=scale) for name, leaf in tree.items()}


def inner_product(one: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
    """The inner product over all leaves, a scalar."""
    return torch.stack([(leaf * other[name]).sum() for name, leaf in one.items()]).sum()


def flatten(tree: Tree) -> tuple[list[Any], TreeSpec | Names]:
    """The leaves in a fixed order, and what is needed to put them back."""
    return (list(tree.values()), Names(tree)) if is_flat(tree) else tree_flatten(tree)


def unflatten(leaves: Iterable[Any], spec: TreeSpec | Names) -> Tree:
    """The tree whose leaves they are."""
    return dict(zip(spec, leaves, strict=True)) if isinstance(spec, Names) else tree_unflatten(leaves, spec)


def leading_axis(tree: Tree) -> int:
    """The length of the axis that every leaf has first: the number of tasks."""
    return len(flatten(tree)[0][0])


def slices(tree: Tree, size: int) -> Iterator[Tree]:
    """Consecutive pieces of at most `size` along the leading axis."""
    for first in range(0, leading_axis(tree), size):
        yield tree_map(lambda leaf, first=first: leaf[first : first + size], tree)


def stack(trees: list[Tree]) -> Tree:
    """Trees of one shape, stacked along a new leading axis; a single one is not copied."""
    join = (lambda *leaves: torch.stack(leaves)) if len(trees) > 1 else (lambda leaf: leaf[None])
    return map_tree(join, *trees)


def concatenate(trees: list[Tree]) -> Tree:
    """Trees of one shape, joined along their leading axis."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *leaves: torch.cat(leaves), *trees)
