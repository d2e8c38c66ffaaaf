"""Images for a whole batch of tasks, gathered by their numbers on the device that computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""Numbers of images, int64 of any shape, to those images as a network reads them: that shape and one image's."""

SHARE = 0.25
"""Of a device's free memory that images may take; trials beside each other have a copy each."""


def gatherer(pixels: Tensor, device: str | torch.device) -> Gather:
    """`as_input(pixels[index])` on a device, the same bits everywhere, for an index in the CPU's memory.

    On a CUDA device the images are there already, uint8, where there is room: an update sends numbers alone. Others
    stay where they are, mapped from disk perhaps, and those of a batch are sent through pinned memory. Neither waits
    for the device.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return lambda index: as_input(pixels[index])
    if pixels.nbytes > SHARE * torch.cuda.mem_get_info(device)[0]:
        return staged(pixels, device)
    return resident(pixels, device)


def resident(pixels: Tensor, device: torch.device) -> Gather:
    """Of images that are copied to the device once."""
    there = pixels.to(device)
    return lambda index: as_input(there[sent(index, device)])


def staged(pixels: Tensor, device: torch.device) -> Gather:
    """Of images that stay in the CPU's memory, or on disk."""

    def gather(index: Tensor) -> Tensor:
        shape = (index.numel(), *pixels.shape[1:])
        chosen = torch.empty(shape, dtype=pixels.dtype, pin_memory=device.type == "cuda")
        torch.index_select(pixels, 0, index.flatten(), out=chosen)
        return as_input(chosen.to(device, non_blocking=True)).view(*index.shape, *pixels.shape[1:])

    return gather


def sent(leaf: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, which it does not wait for: pinned memory is let go when it was read."""
    return leaf.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else leaf.to(device)


def as_input(pixels: Tensor) -> Tensor:
    """uint8 pixels to what a network reads, float32 in [0, 1]; features of float32 as they are."""
    if pixels.is_floating_point():
        return pixels
    # CUDA would multiply by the inverse of a number, which rounds otherwise; by a tensor it divides.
    return pixels.float().div_(255 if pixels.device.type == "cpu" else torch.full((), 255.0, device=pixels.device))
