"""The block as an autograd Function: first and second derivatives are exact, third ones are refused."""

from __future__ import annotations

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

    @property
    def kind(self) -> int:
        """As the library has it."""
        return self.pool + 2 * (self.kernel == 1)


class Source(NamedTuple):
    """What a block's output can be made again of."""

    before: Tensor
    """What the activation was applied to, but for scale and shift: (n, h, w, channels) in memory."""
    coefficients: Tensor
    """Scale and shift by channel, and the activation's slope."""


class Chain:
    """Blocks that follow one another: each leaves for the next what its output can be made again of."""

    source: Source | None = None


class Block(Function):
    """(n, i, h, w), weights (o, i, k, k), bias, scale, shift (o,) -> (n, o, h', w') and the convolution itself.

    The second output (n, h', w', o) is for the derivatives' own use: there the second derivative's gradient meets
    the outer one, so that both go through the convolution at once. BatchNorm takes the bias out of the outputs, so it
    is not added, and its gradient is exactly zero.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, settings: Settings,
        blocks: Blocks, chain: Chain,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        n, i, ih, iw = x.shape
        o, stride = w.shape[0], settings.stride
        h, wide = (ih - 1) // stride + 1, (iw - 1) // stride + 1
        ctx.sizes = (n, ih, iw, i, h, wide, o, stride, settings.kind)
        ctx.settings, ctx.blocks, ctx.biased = settings, blocks, bias is not None
        ctx.set_materialize_grads(False)
        shape = ctx.shape = (n, o, h // 2, wide // 2) if settings.pool else (n, o, h, wide)
        z, y = x.new_empty(n, h, wide, o), image(shape, x.dtype)
        top, place = (image(shape, x.dtype), image(shape, torch.uint8)) if settings.pool else (None, None)
        mean, r, own = x.new_empty(o), x.new_empty(o), x.new_empty(2 * o + 1)
        raw_x, raw_w, scale = nhwc(x), hwio(w), gamma.contiguous()
        call(ctx, "forward", raw_x, raw_w, scale, beta.contiguous(), z, y, top, place, mean, r, own)
        source, chain.source = chain.source, Source(z.detach() if top is None else top, own)
        given, coefficients = source or (raw_x, None)
        ctx.save_for_backward(x, w, gamma, z, given, coefficients, raw_w, scale, top, place, mean, r, own)
        return y, z

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, gz: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w, gamma, z, *rest = ctx.saved_tensors
        if g is None:
            g = image(ctx.shape, z.dtype).zero_()
        if torch.is_grad_enabled():
            if gz is not None:
                raise RuntimeError("Blocks have no third derivatives; with --plain-layers a model's own layers run.")
            rest = [None if each is None else each.detach() for each in rest]
            found = Slopes.apply(g, x, w, gamma, z, ctx, rest)  # type: ignore[no-untyped-call]
        else:
            found = slopes(ctx, nhwc(g), gz, z, rest)
        dx, dw, dgamma, dbeta = found
        dbias = torch.zeros_like(dbeta) if ctx.biased and ctx.needs_input_grad[2] else None
        return dx, dw, dbias, dgamma, dbeta, None, None, None


class Slopes(Function):
    """The block's gradient as a function of its own, so that it has one."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, gamma: Tensor, z: Tensor, block: Any, rest: list[Any]
    ) -> Any:
        ctx.sizes, ctx.shape, ctx.settings, ctx.blocks = block.sizes, block.shape, block.settings, block.blocks
        ctx.of_input = block.needs_input_grad[0]
        raw_g = nhwc(g)
        found = slopes(block, raw_g, None, z, rest)
        ctx.save_for_backward(raw_g, z, *rest, *found[2:])
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ux: Tensor | None, uw: Tensor | None, ugamma: Tensor | None, ubeta: Tensor | None) -> Any:
        g, z, x, source, w, gamma, top, place, mean, r, own, dgamma, dbeta = ctx.saved_tensors
        n, ih, iw, i, _, _, o, *_ = ctx.sizes
        of_z, of_g, of_gamma = torch.empty_like(z), image(ctx.shape, z.dtype), torch.empty_like(gamma)
        of_x = image((n, i, ih, iw), z.dtype) if ctx.of_input and uw is not None else None
        of_w = kernel((o, i, *w.shape[:2]), z.dtype) if ux is not None else None
        call(
            ctx, "second", nhwc(ux), hwio(uw), flat(ugamma), flat(ubeta), g, place, z, gamma, mean, r,
            dgamma, dbeta, x, w, of_z, of_g, of_gamma, of_x, of_w, own, source, top,
        )  # fmt: skip
        return of_g, of_x, of_w, of_gamma, of_z, None, None


def slopes(
    ctx: Any, g: Tensor | None, gz: Tensor | None, z: Tensor, rest: list[Any]
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """The gradients by input (where it is needed), weights, scale and shift."""
    x, source, w, gamma, top, place, mean, r, own = rest
    n, ih, iw, i, _, _, o, *_ = ctx.sizes
    dx = image((n, i, ih, iw), z.dtype) if ctx.needs_input_grad[0] else None
    dw, dgamma, dbeta = kernel((o, i, *w.shape[:2]), z.dtype), torch.empty_like(gamma), torch.empty_like(gamma)
    call(ctx, "backward", g, flat(gz), top, place, z, gamma, mean, r, x, w, dx, dw, dgamma, dbeta, own, source)
    return dx, dw, dgamma, dbeta


def call(ctx: Any, name: str, *tensors: Tensor | None) -> None:
    """See Blocks.call."""
    ctx.blocks.call(name, ctx.sizes, ctx.settings.epsilon, ctx.settings.slope, tensors)


def nhwc(x: Tensor | None) -> Tensor | None:
    """Images as (n, h, w, c) in memory; no copy where they are."""
    return None if x is None else x.permute(0, 2, 3, 1).contiguous()


def hwio(w: Tensor | None) -> Tensor | None:
    """Weights as (k, k, in, out) in memory; no copy where they are."""
    return None if w is None else w.permute(2, 3, 1, 0).contiguous()


def flat(vector: Tensor | None) -> Tensor | None:
    """A tensor in its usual order in memory."""
    return None if vector is None else vector.contiguous()


def image(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Empty images (n, c, h, w) that are (n, h, w, c) in memory."""
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def kernel(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Empty weights (o, i, k, k) that are (k, k, i, o) in memory."""
    o, i, _, width = shape
    return torch.empty_strided(shape, (1, o, width * i * o, i * o), dtype=dtype)
