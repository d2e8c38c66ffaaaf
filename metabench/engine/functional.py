"""A module as a function of its weights: `torch.func.functional_call` without what it looks up at every call."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from metabench.api import Params


class FunctionalModule:
    """(weights by name, inputs) -> outputs; frozen weights are the module's own.

    It puts the weights into the module meanwhile: for one thread alone.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        first: dict[int, str] = {}
        """By identity the first name of each weight: tied ones share it, as in `named_parameters`."""
        self.slots: list[tuple[dict[str, Tensor | None], str, str]] = []
        for prefix, part in module.named_modules(remove_duplicate=False):
            for name, weight in part.named_parameters(recurse=False):
                if weight.requires_grad:
                    whole = f"{prefix}.{name}" if prefix else name
                    self.slots.append((part._parameters, name, first.setdefault(id(weight), whole)))
        self.names = set(first.values())

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        if params.keys() != self.names:  # some are the module's own
            outputs: Tensor = functional_call(self.module, params, (x,))
            return outputs
        before = [own[name] for own, name, _ in self.slots]
        try:
            for own, name, whole in self.slots:
                own[name] = params[whole]
            return self.module(x)  # type: ignore[no-any-return]
        finally:
            for (own, name, _), weight in zip(self.slots, before, strict=True):
                own[name] = weight
