"""What a model may not be: it is tried on one small task before training, and refused in a line that names the layer.

Behaviour is looked at, not types: the same weights and input give the same outputs twice, whatever came between, and
neither the input nor the model's own tensors nor a random stream have changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from metabench.api import Batch
from metabench.api.trees import flatten, map_tree
from metabench.engine.seeds import random_state
from metabench.errors import UserError

TOLERANCE = 1e-5
"""How far two outputs for one input may be apart, relative to the largest: rounding, on a device that adds in any
order."""

Use = Callable[[nn.Module, Batch], list[Tensor]]
"""What a suite's loss does with a module on one task's batch: the outputs that it asks for, and the loss."""


def refuse_lost(module: nn.Module) -> None:
    """Raise UserError for what an author may set on a model and pure functions of its weights would lose."""
    for name, layer in module.named_modules():
        for own, weight in layer._parameters.items():
            if weight is None:
                continue
            if isinstance(weight, nn.parameter.UninitializedParameter):
                refuse(layer, name, f"does not know the size of '{own}' yet: build it with its sizes")
            if weight.is_complex():
                refuse(layer, name, f"has complex weights ('{own}'): keep their real and imaginary parts as two")
            if weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None):
                refuse(layer, name, f"has a hook on the gradient of '{own}', which no inner step would see")
        for own, value in vars(layer).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                refuse(
                    layer,
                    name,
                    f"keeps '{own}', a tensor with a graph, as the old torch.nn.utils.weight_norm does: use "
                    "torch.nn.utils.parametrizations.weight_norm",
                )
            if isinstance(value, Tensor) and value.requires_grad:
                refuse(layer, name, f"keeps '{own}', a tensor with a gradient that is no parameter: make it one")
    if not any(weight.requires_grad for weight in module.parameters()):
        frozen = ": all are frozen" if next(module.parameters(), None) is not None else ""
        raise UserError(f"The model {type(module).__name__} has no parameters to learn{frozen}.")


def refuse_unsteady(module: nn.Module, use: Use, support: Batch, other: Batch) -> None:
    """Raise UserError where a use of the module depends on more than weights and input, or changes them."""
    tried, given = copy.deepcopy(module), copy_of(support)
    before, streams = own_tensors(tried), random_state()
    first = use(tried, support)
    if not same(given, support):
        where, layer = culprit(module, use, given, lambda layer, batch: copy_of(batch))
        refuse(layer, where, "writes into the model's input, which is the task itself: write x * 0.5 for x.mul_(0.5)")
    if not same(own_tensors(tried), before):
        where, layer = culprit(module, use, given, lambda layer, batch: own_tensors(layer, recurse=False))
        if getattr(layer, "track_running_stats", False):
            reason = "keeps running statistics, which would leak from task to task"
            refuse(layer, where, f"{reason}. Build it with track_running_stats=False")
        refuse(layer, where, "changes its own tensors when it is used, which would leak from task to task")
    if not same(random_state(), streams):
        where, layer = culprit(module, use, given, lambda layer, batch: random_state())
        refuse(layer, where, "draws random numbers, so a task would depend on the tasks before it. Leave dropout out")
    use(tried, other)
    again = use(tried, support)
    if not all(close(one, two) for one, two in zip(first, again, strict=True)):
        where, layer = unsteady(module, use, given, other)
        refuse(
            layer,
            where,
            "gives other outputs for the same weights and input when it is used again: it draws random numbers, or "
            "keeps something from call to call",
        )


def refuse(layer: nn.Module | None, name: str, reason: str) -> NoReturn:
    """Raise UserError that names the layer; without one it is the loss."""
    who = f"Layer '{name}' ({type(layer).__name__})" if name else f"The model ({type(layer).__name__})"
    raise UserError(f"{who if layer else 'The loss of the suite'} {reason}.")


Culprit = tuple[str, nn.Module | None]


def culprit(module: nn.Module, use: Use, batch: Batch, look: Callable[[nn.Module, Batch], Any]) -> Culprit:
    """The innermost layer in whose call what `look` sees changes; no layer where it is outside of the model."""
    tried, batch = copy.deepcopy(module), copy_of(batch)
    seen: list[Any] = []
    found: list[Culprit] = []

    def after(name: str, layer: nn.Module) -> None:
        if not same(seen.pop(), look(layer, batch)):
            found.append((name, layer))

    for name, layer in tried.named_modules():
        layer.register_forward_pre_hook(lambda layer, given: seen.append(look(layer, batch)))
        layer.register_forward_hook(lambda layer, given, output, name=name: after(name, layer))
    use(tried, batch)
    return found[0] if found else ("", None)


def unsteady(module: nn.Module, use: Use, batch: Batch, other: Batch) -> Culprit:
    """The innermost layer that answers the same inputs otherwise when the module is used again."""
    tried = copy.deepcopy(module)
    calls: list[tuple[str, nn.Module, Any, Any]] = []
    for name, layer in tried.named_modules():
        layer.register_forward_hook(
            lambda layer, given, output, name=name: calls.append((name, layer, copy_of(given), copy_of(output)))
        )
    use(tried, batch)
    first = list(calls)
    use(tried, other)
    calls.clear()
    use(tried, batch)
    for (name, layer, given, output), (_, _, given_again, output_again) in zip(first, calls, strict=False):
        if same(given, given_again) and not same(output, output_again):
            return name, layer
    return "", None


def own_tensors(layer: nn.Module, recurse: bool = True) -> dict[str, Tensor]:
    """Copies of a layer's parameters and buffers."""
    both = (*layer.named_parameters(recurse=recurse), *layer.named_buffers(recurse=recurse))
    return {name: copy_of(value) for name, value in both}


def copy_of(tree: Any) -> Any:
    """The tensors of a tree in memory of their own."""
    return map_tree(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree)


def same(one: Any, other: Any) -> bool:
    """Whether two trees hold the same bits; NaN is itself."""
    pairs = zip(flatten(one)[0], flatten(other)[0], strict=True)
    return all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, Tensor) else bool(a == b) for a, b in pairs
    )


def close(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two outputs differ by no more than rounding: `tolerance` of the largest number."""
    scale = float(other.detach().abs().nan_to_num().max()) if other.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=tolerance * scale, equal_nan=True)
