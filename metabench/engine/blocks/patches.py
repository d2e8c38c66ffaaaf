"""Convolutions as one product of matrices with the patches of their input: how a GPU does many small ones at once.

Inside `torch.vmap` every task has weights of its own after an inner step. torch then asks cuDNN for a grouped
convolution, whose kernels for float32 are slow, those of its derivatives most of all; one batched product is not.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from metabench.engine.blocks.fuse import hooked

ENABLED: ContextVar[bool] = ContextVar("patches", default=True)
"""Whether they are used where they apply."""


class Window(NamedTuple):
    """How the kernel of a convolution moves over images of one size."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the images with their margin."""
        return self.size[0] + 2 * self.padding[0], self.size[1] + 2 * self.padding[1]

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of the output."""
        high, wide = ((p - k) // s + 1 for p, k, s in zip(self.padded, self.kernel, self.stride))
        return high, wide

    def inside(self, padded: Tensor) -> Tensor:
        """The images (n, height, width, channels) in those with their margin."""
        return padded.narrow(1, self.padding[0], self.size[0]).narrow(2, self.padding[1], self.size[1])


class Patches(Function):
    """Images (n, channels, height, width) to the patch under each place of the kernel: (n, high, wide, k * k * c)."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> Tensor:
        """See the class."""
        n, channels = x.shape[:2]
        padded = x.new_zeros(n, *window.padded, channels)
        window.inside(padded).copy_(x.permute(0, 2, 3, 1))
        image, row, column, channel = padded.stride()
        steps = (image, row * window.stride[0], column * window.stride[1], row, column, channel)
        return padded.as_strided((n, *window.places, *window.kernel, channels), steps).flatten(3).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        """See torch.autograd.Function."""
        ctx.window = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Each patch's gradient, added up where they overlap."""
        return Overlaid.apply(grad, ctx.window), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, window: Window) -> tuple[Tensor, int]:
        """Of the images of all tasks at once."""
        return folded(Patches, x.movedim(in_dims[0], 0), window)


class Overlaid(Function):
    """The transpose of Patches: patches (n, high, wide, k * k * c), added up to images."""

    @staticmethod
    def forward(patches: Tensor, window: Window) -> Tensor:
        """See the class."""
        (high, wide), (down, right) = window.places, window.stride
        pieces = patches.reshape(*patches.shape[:3], *window.kernel, -1)
        padded = patches.new_zeros(len(patches), *window.padded, pieces.shape[-1])
        for i in range(window.kernel[0]):
            for j in range(window.kernel[1]):
                padded[:, i : i + down * high : down, j : j + right * wide : right] += pieces[:, :, :, i, j]
        return window.inside(padded).permute(0, 3, 1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        """See torch.autograd.Function."""
        ctx.window = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The patches of the gradient."""
        return Patches.apply(grad, ctx.window), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], patches: Tensor, window: Window) -> tuple[Tensor, int]:
        """Of the patches of all tasks at once."""
        return folded(Overlaid, patches.movedim(in_dims[0], 0), window)


def folded(function: Any, x: Tensor, window: Window) -> tuple[Tensor, int]:
    """What the function makes of (tasks, n, ...), as if all belonged to one task."""
    return function.apply(x.flatten(0, 1), window).unflatten(0, x.shape[:2]), 0


class PatchedConv2d(nn.Conv2d):
    """A convolution that is a product of matrices inside torch's transforms. Its weights are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """See nn.Conv2d."""
        if not applies(x):
            return super().forward(x)
        window = Window(self.kernel_size, self.stride, self.padding, x.shape[2:])  # type: ignore[arg-type]
        patches: Tensor = Patches.apply(x, window)  # type: ignore[no-untyped-call]
        made = patches.flatten(0, 2) @ self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        made = made if self.bias is None else made + self.bias
        return made.view(*patches.shape[:3], -1).permute(0, 3, 1, 2).contiguous()  # as BatchNorm in vmap asks


def applies(x: Tensor) -> bool:
    """Whether it is worth it: images of tasks that are computed side by side, in the dtype of the weights."""
    return (
        x.dim() == 4 and torch._C._are_functorch_transforms_active() and not torch.is_autocast_enabled(x.device.type)
    )


def patched(module: nn.Module) -> nn.Module:
    """The module with its plain convolutions made PatchedConv2d; what it holds and computes stays as it is."""
    for layer in module.modules():
        if type(layer) is nn.Conv2d and is_usual(layer):
            layer.__class__ = PatchedConv2d
    return module


def is_usual(conv: nn.Conv2d) -> bool:
    """Whether a convolution has a margin of zeros that is given in pixels, one group and no holes."""
    margin = isinstance(conv.padding, tuple) and conv.padding_mode == "zeros"
    return margin and conv.groups == 1 and conv.dilation == (1, 1) and not hooked(conv)
