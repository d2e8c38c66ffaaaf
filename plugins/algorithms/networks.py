"""Small networks that are themselves meta-learnt, beside the suite's model: as trees of tensors, and functions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

Layers = list[list[Tensor]]
"""[weight (out, in), bias (out,)] of each linear layer."""


def draw_layers(widths: tuple[int, ...], generator: Generator, like: Tensor, last: float = 1.0) -> Layers:
    """Linear layers from widths[0] to widths[-1], drawn as torch draws its own, in the dtype and place of `like`.

    The last layer's are scaled by `last`: with 0 the network gives zeros at first.
    """

    def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
        drawn = (2 * torch.rand(shape, generator=generator) - 1) * bound
        return drawn.to(device=like.device, dtype=like.dtype)

    layers = [
        [uniform((after, before), before**-0.5), uniform((after,), before**-0.5)]
        for before, after in pairwise(widths)
    ]
    layers[-1] = [last * weight for weight in layers[-1]]
    return layers


def run(layers: Layers, x: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """The outputs (..., out) for inputs (..., in), with the activation between the layers."""
    for number, (weight, bias) in enumerate(layers):
        x = activation(x) if number else x
        x = nn.functional.linear(x, weight, bias)
    return x


def means(tree: dict[str, Tensor]) -> Tensor:
    """The mean of each tensor: what ALFA and L2F tell their networks about weights and gradients."""
    return torch.stack([value.mean() for value in tree.values()])
