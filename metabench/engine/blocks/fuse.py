"""Where in a module the block applies: runs of layers in an nn.Sequential; names and weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from metabench.api.trees import Tree, flatten
from metabench.engine.blocks.build import NAMES, Blocks
from metabench.engine.blocks.function import Settings, Sized, Stack

CURRENT: ContextVar[Blocks | None] = ContextVar("blocks", default=None)


@contextmanager
def running(blocks: Blocks | None) -> Iterator[None]:
    """Inside it fused modules run blocks where they apply; with None their own layers."""
    token = CURRENT.set(blocks)
    try:
        yield
    finally:
        CURRENT.reset(token)


class Run(NamedTuple):
    """Layers of a model that are one block for inputs that it suits."""

    layers: tuple[nn.Module, ...]
    stride: int
    slope: float
    """Of the activation below zero; 1 where there is none."""
    pool: bool
    kernel: int

    def sized(self, shape: Sequence[int], dtype: torch.dtype) -> Sized | None:
        """The block for inputs of a shape; None where the layers must run themselves."""
        conv: Any = self.layers[0]
        norm: Any = self.layers[1]
        if len(shape) != 4 or shape[1] != conv.in_channels or not wide_enough(conv.out_channels, dtype):
            return None
        settings = Settings(self.stride, self.pool, norm.eps, self.slope, self.kernel)
        sized = Sized(settings, shape, conv.out_channels)
        n, height, width, _ = sized.convolved
        too_small = n * height * width < 2 or (self.pool and min(height, width) < 2)
        return None if too_small else sized

    @property
    def weights(self) -> tuple[Tensor | None, ...]:
        """As a Stack has them."""
        conv, norm, *_ = self.layers
        return conv.weight, conv.bias, norm.weight, norm.bias  # type: ignore[return-value]


class Fused(nn.Sequential):
    """An nn.Sequential that runs some of its layers as blocks inside `running`. Its layers do not change."""

    plan: list[Run | nn.Module] | None = None
    stacks: dict[tuple[Any, ...], list[Sized]]
    """By the place of the first, and by the shape and dtype of its inputs: blocks that follow one another."""

    def forward(self, x: Tensor) -> Tensor:
        """See nn.Sequential."""
        blocks = CURRENT.get()
        if blocks is None or not suits(x, blocks):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        if self.plan is None:
            self.plan, self.stacks = list(runs(list(unnested(self)))), {}
        at = 0
        while at < len(self.plan):
            key = (at, x.shape, x.dtype)
            if key not in self.stacks:
                self.stacks[key] = stack(self.plan[at:], x.shape, x.dtype)
            sized = self.stacks[key]
            weights = [
                each for run in self.plan[at : at + len(sized)] if isinstance(run, Run) for each in run.weights
            ]
            if sized and all(each is None or each.dtype == x.dtype for each in weights):
                y, *_ = Stack.apply(x, sized, blocks, *weights)  # type: ignore[no-untyped-call]
                x, blocks.used = y.contiguous(), True  # what follows may ask for a view
                at += len(sized)
                continue
            step = self.plan[at]
            for layer in step.layers if isinstance(step, Run) else (step,):
                x = layer(x)
            at += 1
        return x


def stack(steps: list[Run | nn.Module], shape: Sequence[int], dtype: torch.dtype) -> list[Sized]:
    """The blocks that the first steps are for inputs of a shape."""
    found: list[Sized] = []
    for step in steps:
        sized = step.sized(shape, dtype) if isinstance(step, Run) else None
        if sized is None:
            break
        found.append(sized)
        shape = sized.outputs
    return found


def suits(x: Tensor, blocks: Blocks) -> bool:
    """Whether blocks can take such inputs: images on a CPU, outside of torch's transforms and autocast."""
    return (
        x.dim() == 4
        and x.dtype == blocks.dtype
        and x.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
        and forward_ad._current_level < 0
    )


def unnested(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a Fused, and in its place those of a Fused inside it."""
    for layer in module.children():
        if type(layer) is Fused and not hooked(layer):
            yield from unnested(layer)
        else:
            yield layer


def runs(layers: list[nn.Module]) -> Iterator[Run | nn.Module]:
    """The layers, those in one step that may be a block."""
    at = 0
    while at < len(layers):
        count, slope = 2, 1.0  # without an activation
        if not is_normalised_convolution(layers[at : at + 2]):
            yield layers[at]
            at += 1
            continue
        after = [*layers[at + 2 : at + 4], None, None]
        if is_rectifier(after[0]):
            slope = getattr(after.pop(0), "negative_slope", 0.0)
            count += 1
        pool = is_pool(after[0])
        count += pool
        conv: Any = layers[at]
        yield Run(tuple(layers[at : at + count]), conv.stride[0], slope, pool, conv.kernel_size[0])
        at += count


def is_normalised_convolution(layers: list[Any]) -> bool:
    """Whether two layers are a convolution and BatchNorm of the kinds that a block has."""
    if len(layers) < 2 or any(map(hooked, layers)):
        return False
    conv, norm = layers
    return (
        (type(conv), type(norm)) == (nn.Conv2d, nn.BatchNorm2d)
        and (conv.kernel_size, conv.padding, conv.stride) in KERNELS
        and (conv.dilation, conv.groups) == ((1, 1), 1)
        and conv.padding_mode == "zeros"
        and norm.affine
        and not norm.track_running_stats
    )


KERNELS = [((3, 3), (1, 1), (1, 1)), ((3, 3), (1, 1), (2, 2)), ((1, 1), (0, 0), (1, 1))]
"""Kernel, padding and stride of the convolutions that a block has."""


def is_rectifier(layer: Any) -> bool:
    """Whether a layer is ReLU, or a leaky one that rises: the largest then stays the largest."""
    known = type(layer) in (nn.ReLU, nn.LeakyReLU) and not hooked(layer)
    return known and getattr(layer, "negative_slope", 0.0) >= 0


def wide_enough(channels: int, dtype: torch.dtype) -> bool:
    """Whether a block is the quicker way for so many output channels: they fill vectors of 64 bytes."""
    return channels % (64 // dtype.itemsize) == 0


def is_pool(layer: Any) -> bool:
    """Whether a layer is maximum pooling of 2 by 2 pixels."""
    return (
        type(layer) is nn.MaxPool2d
        and not hooked(layer)
        and layer.kernel_size in (2, (2, 2))
        and layer.stride in (2, (2, 2))
        and layer.padding in (0, (0, 0))
        and layer.dilation in (1, (1, 1))
        and not layer.ceil_mode
        and not layer.return_indices
    )


def hooked(layer: nn.Module) -> bool:
    """Whether somebody listens to a layer's calls."""
    return bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )


def fuse(module: nn.Module) -> nn.Module:
    """The module with its plain Sequentials made Fused; what they hold, and what it computes, stays as it is."""
    for child in module.modules():
        if type(child) is nn.Sequential:
            child.__class__ = Fused
    return module


def weights_dtype(meta: Tree) -> torch.dtype | None:
    """The dtype of a model's convolutions if blocks are the quicker way for it; else None."""
    kernels = [leaf for leaf in flatten(meta)[0] if is_kernel(leaf) and leaf.shape[2:] == (3, 3)]
    return next((leaf.dtype for leaf in kernels if wide_enough(len(leaf), leaf.dtype)), None)


def is_kernel(leaf: Tensor) -> bool:
    """Whether a leaf looks like the weights of a block's convolution, on a CPU."""
    return (
        leaf.dim() == 4 and leaf.shape[2:] in ((3, 3), (1, 1)) and leaf.dtype in NAMES and leaf.device.type == "cpu"
    )
