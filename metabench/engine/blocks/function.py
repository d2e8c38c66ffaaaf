"""Blocks in a row as one autograd Function: first and second derivatives are exact, third ones are refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metabench.engine.blocks.build import Blocks


class Settings(NamedTuple):
    """What is not a tensor."""

    stride: int
    pool: bool
    epsilon: float
    slope: float
    """Of the activation below zero: 0 for ReLU, 1 where there is none."""
    kernel: int = 3
    """Or 1: of 1x1 pixels, without padding."""


class Sized:
    """A block for inputs (n, i, h, w) of one size, with o filters."""

    def __init__(self, settings: Settings, inputs: Sequence[int], filters: int) -> None:
        self.inputs, self.filters, self.pool, self.kernel = tuple(inputs), filters, settings.pool, settings.kernel
        n, channels, ih, iw = self.inputs
        h, w = (ih - 1) // settings.stride + 1, (iw - 1) // settings.stride + 1
        self.convolved = (n, h, w, filters)
        """The convolution's output, as it lies in memory."""
        self.outputs = (n, filters, h // 2, w // 2) if self.pool else (n, filters, h, w)
        kind = self.pool + 2 * (self.kernel == 1)
        numbers = struct.unpack("2q", struct.pack("2d", settings.epsilon, settings.slope))
        self.words = (n, ih, iw, channels, h, w, filters, settings.stride, kind, *numbers)
        """As the library has its sizes."""
        self.numel = math.prod(self.outputs)


class Kept(NamedTuple):
    """What is kept of a block beside its convolution's output: its weights as they lie in memory, and numbers."""

    w: Tensor
    gamma: Tensor
    top: Tensor | None
    """The convolution at the maximum, where it is pooled."""
    place: Tensor | None
    """Which of the four that is."""
    mean: Tensor
    r: Tensor
    own: Tensor
    """What outputs are made again of: scale and shift by channel, and the slope."""


class Stack(Function):
    """Images (n, i, h, w), and of each block weights (o, i, k, k), bias, scale, shift (o,) to (n, o, h', w').

    More outputs are for the derivatives' own use: the convolutions (n, h', w', o), and for what is between two blocks
    a tensor without content. There the second derivative's gradient meets the outer one, so that both go through a
    convolution at once. BatchNorm takes the bias out of the outputs: it is not added, and its gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sized: Sequence[Sized], blocks: Blocks, *weights: Any) -> Any:
        ctx.sized, ctx.blocks, ctx.biased = sized, blocks, [bias is not None for bias in weights[1::4]]
        ctx.set_materialize_grads(False)
        ctx.x, ctx.kept, convolved, words = nhwc(x), [], [], []
        given, source, y = ctx.x, None, image(sized[-1].outputs, x.dtype)
        for size, w, gamma, beta in zip(sized, weights[::4], weights[2::4], weights[3::4], strict=True):
            z, mean, r = x.new_empty(size.convolved), x.new_empty(size.filters), x.new_empty(size.filters)
            top = image(size.outputs, x.dtype) if size.pool else None
            place = image(size.outputs, torch.uint8) if size.pool else None
            kept = Kept(hwio(w), flat(gamma), top, place, mean, r, x.new_empty(2 * size.filters + 1))
            out = y if size is sized[-1] else None
            words.append((*size.words, given, source, kept.w, kept.gamma, flat(beta), z, out, *kept[2:]))
            ctx.kept.append(kept)
            convolved.append(z)
            given, source = remade(kept, z)
        blocks.call("forward", words)
        between = [x.new_empty(()).expand(size.outputs) for size in sized[:-1]]
        ctx.save_for_backward(x, *weights[::4], *weights[2::4], *convolved, *between)
        return y, *convolved, *between

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(ctx.sized)
        g = image(ctx.sized[-1].outputs, ctx.x.dtype).zero_() if g is None else g
        if torch.is_grad_enabled():
            if any(other is not None for other in others):
                raise RuntimeError("Blocks have no third derivatives; with --plain-layers a model's own layers run.")
            dx, *slopes = Slopes.apply(ctx, g, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        else:
            outputs = [*alternating(g, ctx.sized[:-1]), nhwc(g)]
            convolved = ctx.saved_tensors[1 + 2 * count : 1 + 3 * count]
            dx, *slopes = slopes_of(ctx, outputs, convolved, [*others[count:], None], others[:count])
        dbeta = slopes[2::3]
        pairs = zip(dbeta, ctx.biased, strict=True)
        dbias = [torch.zeros_like(each) if biased and each is not None else None for each, biased in pairs]
        by_block = zip(slopes[::3], dbias, slopes[1::3], dbeta, strict=True)
        return dx, None, None, *(each for four in by_block for each in four)


class Slopes(Function):
    """The gradient of a Stack as a function of its own, so that it has one."""

    @staticmethod
    def forward(ctx: Any, stack: Any, g: Tensor, *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.x, ctx.sized, ctx.blocks, ctx.kept = stack.x, stack.sized, stack.blocks, stack.kept
        ctx.of_input, count = stack.needs_input_grad[0], len(stack.sized)
        ctx.between = [image(size.outputs, g.dtype) for size in stack.sized[:-1]]
        last, convolved, none = nhwc(g), tensors[1 + 2 * count : 1 + 3 * count], [None] * count
        found = slopes_of(stack, [*ctx.between, last], convolved, none, none)
        ctx.save_for_backward(last, *convolved, *found[2::3], *found[3::3])
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ux: Tensor | None, *others: Tensor | None) -> Any:
        last, *saved = ctx.saved_tensors
        count, ux, dtype = len(ctx.sized), nhwc(ux), last.dtype
        of_last = image(ctx.sized[-1].outputs, dtype)
        none: list[Tensor | None] = [None] * count
        of_x, of_w, of_gamma, of_z = none, [*none], [*none], [*none]
        x, source, words = ctx.x, None, []
        of_blocks = zip(
            ctx.sized, ctx.kept, [*ctx.between, last], saved[:count], saved[count : 2 * count], saved[2 * count :],
            [*alternating(last, ctx.sized[:-1]), of_last], strict=True,
        )  # fmt: skip
        for at, (size, kept, g, z, dgamma, dbeta, of_g) in enumerate(of_blocks):
            along = [ux, *others[3 * at : 3 * at + 3]]
            if any(each is not None for each in along):  # below, nothing moves
                of_z[at], of_gamma[at] = torch.empty_like(z), torch.empty_like(kept.gamma)
                of_x[at] = image(size.inputs, dtype) if (at or ctx.of_input) and along[1] is not None else None
                of_w[at] = kernel(size, dtype) if ux is not None else None
                along = [ux, hwio(along[1]), flat(along[2]), flat(along[3])]
                words.append((
                    *size.words, *along, g, kept.place, z, kept.gamma, kept.mean, kept.r, dgamma, dbeta, x, kept.w,
                    of_z[at], of_g, of_gamma[at], of_x[at], of_w[at], kept.own, source, kept.top,
                ))  # fmt: skip
                ux = of_g
            x, source = remade(kept, z)
        ctx.blocks.call("second", words)
        return None, of_last if words else None, of_x[0], *of_w, *of_gamma, *of_z, *of_x[1:]


def slopes_of(
    ctx: Any, outputs: Sequence[Tensor], convolved: Sequence[Tensor], by_output: Sequence[Tensor | None],
    by_convolution: Sequence[Tensor | None],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients by input, and of each block by weights, scale and shift; None below the lowest that is needed.

    `outputs` is room for the gradients by each block's, the last of which is given; the others are what comes from
    elsewhere.
    """
    needed = [any(ctx.needs_input_grad[at : at + 4]) for at in range(3, len(ctx.needs_input_grad), 4)]
    of_x = ctx.needs_input_grad[0]
    lowest = 0 if of_x else needed.index(True)
    dx = image(ctx.sized[0].inputs, ctx.x.dtype) if of_x else None
    found: list[Tensor | None] = [dx, *[None] * (3 * lowest)]
    words, x, source, of_input = [], ctx.x, None, dx
    of_blocks = zip(ctx.sized, ctx.kept, outputs, convolved, by_output, by_convolution, strict=True)
    for at, (size, kept, g, z, gy, gz) in enumerate(of_blocks):
        if at >= lowest:
            dw, dgamma, dbeta = kernel(size, z.dtype), torch.empty_like(kept.gamma), torch.empty_like(kept.gamma)
            words.append((
                *size.words, g, nhwc(gy), flat(gz), kept.top, kept.place, z, kept.gamma, kept.mean, kept.r, x, kept.w,
                of_input, dw, dgamma, dbeta, kept.own, source,
            ))  # fmt: skip
            found += [dw, dgamma, dbeta]
            of_input = g
        x, source = remade(kept, z)
    ctx.blocks.call("backward", words[::-1])
    return found


def remade(kept: Kept, z: Tensor) -> tuple[Tensor, Tensor]:
    """What the next block's input is made again of."""
    return z if kept.top is None else kept.top, kept.own


def alternating(like: Tensor, sized: Sequence[Sized]) -> list[Tensor]:
    """Room for the outputs of some blocks, of which two that follow one another are needed at a time."""
    pair = [like.new_empty(max((size.numel for size in sized[parity::2]), default=0)) for parity in (0, 1)]
    return [pair[at % 2] for at in range(len(sized))]


def nhwc(x: Any) -> Any:
    """Images as (n, h, w, c) in memory: no copy where they are. None stays None, here and below."""
    return None if x is None else x.permute(0, 2, 3, 1).contiguous()


def hwio(w: Any) -> Any:
    """Weights as (k, k, in, out) in memory; no copy where they are."""
    return None if w is None else w.permute(2, 3, 1, 0).contiguous()


def flat(vector: Any) -> Any:
    """A tensor in its usual order in memory."""
    return None if vector is None else vector.contiguous()


def image(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Empty images (n, c, h, w) that are (n, h, w, c) in memory."""
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def kernel(size: Sized, dtype: torch.dtype) -> Tensor:
    """Empty weights (o, i, k, k) of a block that are (k, k, i, o) in memory."""
    o, i, width = size.filters, size.inputs[1], size.kernel
    return torch.empty_strided((o, i, width, width), (1, o, width * i * o, i * o), dtype=dtype)
