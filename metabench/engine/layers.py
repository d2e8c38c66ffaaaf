"""Which layers a model has, and which is the last: by a forward pass, not by the order in which they are defined."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from metabench.api.trees import flatten
from metabench.errors import UserError, missing

PARAMETRIZATIONS = "parametrizations"
"""Under which torch.nn.utils.parametrizations keeps what a layer's weight is made of."""
DEEPEST = 8
"""Operations between a weight and the operation that uses it: a transposition, a norm."""

Forward = Callable[[nn.Module], Tensor]
"""One forward pass of a module: its outputs."""


class UnknownHead(tuple[str, ...]):
    """In place of the head's names where they cannot be told: reading it raises UserError with the reason."""

    reason: str

    def refuse(self, *_: Any) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"Cannot tell the model's last layer: {self.reason}. Name it: Suite(..., head='NAME').")

    __iter__ = __len__ = __contains__ = __getitem__ = __bool__ = __eq__ = refuse
    __hash__ = tuple.__hash__


class Layers(NamedTuple):
    """See Problem.layers and Problem.head."""

    by_name: Mapping[str, tuple[str, ...]]
    head: tuple[str, ...]


def unknown_head(reason: str) -> UnknownHead:
    """A head of which nothing but this is known."""
    head = UnknownHead()
    head.reason = reason
    return head


def layers_of(module: nn.Module, forward: Forward, named: str = "") -> Layers:
    """The layers of a module in the order in which `forward` uses them, and its head.

    The head is what the outputs are made by: walking back through their graph, the first layers that are met. `named`
    is the layer that a suite says it is. Raises UserError for a name that is no layer's.
    """
    traced = copy.deepcopy(module)
    for weight in traced.parameters():
        weight.requires_grad_(weight.is_floating_point())  # the last layer may be frozen
    calls: list[tuple[str, Any]] = []
    for name, layer in traced.named_modules():
        if PARAMETRIZATIONS not in name.split("."):
            layer.register_forward_hook(lambda _, given, output, name=name: calls.append((name, output)))
    with torch.enable_grad():
        outputs = forward(traced)
    free = {name for name, weight in module.named_parameters() if weight.requires_grad}
    owned = owners(traced, {name for name, _ in calls})
    made = {}
    for name, output in calls:  # the innermost first
        if name in owned:
            made.update({node: name for node in nodes_of(output) if node not in made})
    order = dict.fromkeys(name for name, _ in calls if name in owned)
    layers = {name: tuple(weight for weight in owned[name] if weight in free) for name in order}
    layers = {name: weights for name, weights in layers.items() if weights}
    if named:
        return with_named_head(module, layers, free, named)
    weights = {id(weight): name for name, weight in traced.named_parameters()}
    found, loose = last_of(outputs, made, weights)
    last = set(loose).union(*(owned[name] for name in found))
    head = tuple(name for name in weights.values() if name in last & free)
    if head:
        return Layers(layers, head)
    what = " and ".join(f"'{name}'" for name in sorted(found))
    reason = f"{what or 'it'} is frozen" if last else "its outputs come of no parameter"
    return Layers(layers, unknown_head(reason))


def owners(module: nn.Module, called: set[str]) -> dict[str, tuple[str, ...]]:
    """By layer that was called, the names of its parameters, those of parts that were not called among them.

    A layer that only holds others has none to itself; what is tied is named as `named_parameters` names it.
    """
    first = {id(weight): name for name, weight in module.named_parameters()}
    found: dict[str, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        owner = owner_of(name)
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        found.setdefault(owner, []).append(first[id(weight)])
    return {
        name: tuple(weights)
        for name, weights in found.items()
        if not any(other != name and other.startswith(f"{name}." if name else "") for other in found)
    }


def owner_of(name: str) -> str:
    """The layer that a parameter is a part of."""
    parts = name.split(".")
    end = parts.index(PARAMETRIZATIONS) if PARAMETRIZATIONS in parts else len(parts) - 1
    return ".".join(parts[:end])


def nodes_of(output: Any) -> Iterator[Any]:
    """Where the tensors of an output are in the graph."""
    for leaf in flatten(output)[0]:
        if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
            yield leaf.grad_fn


def last_of(outputs: Tensor, made: Mapping[Any, str], names: Mapping[int, str]) -> tuple[set[str], set[str]]:
    """The layers that outputs come from without another between, and weights that a model uses by itself.

    A weight of one number that outputs are multiplied by is a temperature, and no layer.
    """
    layers: set[str] = set()
    loose: set[str] = set()
    waiting, seen = [outputs.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in made:
            layers.add(made[node])
            continue
        kind = type(node).__name__
        inputs = [each for each, _ in node.next_functions if each is not None]
        used = {each: weights for each in inputs if (weights := weights_below(each, made))}
        for weight in (weight for weights in used.values() for weight in weights):
            if not (kind.startswith(("Mul", "Div")) and weight.numel() == 1) and id(weight) in names:
                loose.add(names[id(weight)])
        if not used or (kind.startswith(("Add", "Sub", "Mul", "Div")) and not kind.startswith(("Addm", "Addb"))):
            waiting += [each for each in inputs if each not in used]
    return layers, loose


def weights_below(node: Any, made: Mapping[Any, str], depth: int = 0) -> list[Tensor]:
    """The parameters that a node is made of, where it is made of nothing else."""
    if hasattr(node, "variable"):
        return [node.variable] if isinstance(node.variable, nn.Parameter) else []
    if node in made or depth == DEEPEST or type(node).__name__.startswith(("Embedding", "Index")):
        return []  # looked up by an integer input, which has no place in the graph
    below = [weights_below(each, made, depth + 1) for each, _ in node.next_functions if each is not None]
    return [weight for weights in below for weight in weights] if below and all(below) else []


def with_named_head(module: nn.Module, layers: Mapping[str, tuple[str, ...]], free: set[str], named: str) -> Layers:
    """The layers with the one of that name as the head, whatever it is made of."""
    first = {id(weight): name for name, weight in module.named_parameters()}
    whole = [
        first[id(weight)]
        for name, weight in module.named_parameters(remove_duplicate=False)
        if f"{owner_of(name)}.".startswith(f"{named}.")
    ]
    if not whole:
        raise UserError(missing("The suite's head is no layer with weights of the model:", named, layers))
    head = tuple(dict.fromkeys(name for name in whole if name in free))
    others = {name: weights for name, weights in layers.items() if not f"{name}.".startswith(f"{named}.")}
    return Layers({**others, named: head}, head or unknown_head(f"'{named}' is frozen"))
