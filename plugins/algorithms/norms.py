"""Which weights belong to BatchNorm: papers differ in whether the inner loop moves them."""

from __future__ import annotations

from torch import nn


def norm_names(module: nn.Module) -> set[str]:
    """The names of the scales and shifts of BatchNorm layers."""
    layers = [(n, layer) for n, layer in module.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    return {f"{path}.{name}" if path else name for path, layer in layers for name, _ in layer.named_parameters()}
