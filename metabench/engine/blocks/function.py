"""The block as an autograd Function: first and second derivatives are exact, third ones are refused."""

from __future__ import annotations

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
    """Of the activation below zero: 0 for ReLU."""


class Block(Function):
    """(n, i, h, w), weights (o, i, 3, 3), bias, scale, shift (o,) -> (n, o, h', w') and the convolution itself.

    The second output (n, h', w', o) is for the derivatives' own use: there the second derivative's gradient meets
    the outer one, so that both go through the convolution at once. BatchNorm takes the bias out of the outputs, so it
    is not added, and its gradient is exactly zero.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, settings: Settings,
        blocks: Blocks,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        n, i, ih, iw = x.shape
        o, stride = len(w), settings.stride
        h, wide = (ih - 1) // stride + 1, (iw - 1) // stride + 1
        ctx.sizes = (n, ih, iw, i, h, wide, o, stride, settings.pool)
        ctx.settings, ctx.blocks, ctx.biased = settings, blocks, bias is not None
        ctx.set_materialize_grads(False)
        shape = (n, o, h // 2, wide // 2) if settings.pool else (n, o, h, wide)
        z, y = x.new_empty(n, h, wide, o), image(x, shape)
        top, place = (image(x, shape), image(x, shape, torch.uint8)) if settings.pool else (None, None)
        mean, r = gamma.new_empty(o), gamma.new_empty(o)
        call(ctx, "forward", nhwc(x), hwio(w), flat(gamma), flat(beta), z, y, top, place, mean, r)
        ctx.save_for_backward(x, w, gamma, z, y, top, place, mean, r)
        return y, z

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, gz: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w, gamma, z, *rest = ctx.saved_tensors
        if g is None:
            g = torch.zeros_like(rest[0])
        if torch.is_grad_enabled():
            if gz is not None:
                raise RuntimeError("Blocks have no third derivatives; with --plain-layers a model's own layers run.")
            dx, dw, dgamma, dbeta = Slopes.apply(  # type: ignore[no-untyped-call]
                g, x, w, gamma, z, ctx, [t if t is None else t.detach() for t in rest]
            )
        else:
            dx, dw, dgamma, dbeta = slopes(ctx, g, gz, x, w, gamma, z, rest, None)
        dbias = torch.zeros_like(gamma) if ctx.biased and ctx.needs_input_grad[2] else None
        return dx, dw, dbias, dgamma, dbeta, None, None


class Slopes(Function):
    """The block's gradient as a function of its own, so that it has one."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, gamma: Tensor, z: Tensor, block: Any, rest: list[Any]
    ) -> Any:
        ctx.sizes, ctx.settings, ctx.blocks = block.sizes, block.settings, block.blocks
        ctx.of_input = block.needs_input_grad[0]
        dz = torch.empty_like(z)
        found = slopes(block, g, None, x, w, gamma, z, rest, dz)
        y, _, place, mean, r = rest
        ctx.save_for_backward(g, x, w, gamma, z, y, place, mean, r, dz, *found[2:])
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ux: Tensor | None, uw: Tensor | None, ugamma: Tensor | None, ubeta: Tensor | None) -> Any:
        g, x, w, gamma, z, y, place, mean, r, dz, dgamma, dbeta = ctx.saved_tensors
        of_z, of_g, of_gamma = torch.empty_like(z), image(g, g.shape), gamma.new_empty(len(gamma))
        of_x = image(x, x.shape) if ctx.of_input and uw is not None else None
        of_w = kernel(w) if ux is not None else None
        call(
            ctx, "second", nhwc(ux), hwio(uw), flat(ugamma), flat(ubeta), nhwc(g), y, place, z, flat(gamma), mean, r,
            dgamma, dbeta, dz, nhwc(x), hwio(w), of_z, of_g, of_gamma, of_x, of_w,
        )  # fmt: skip
        return of_g, of_x, of_w, of_gamma, of_z, None, None


def slopes(
    ctx: Any, g: Tensor, gz: Tensor | None, x: Tensor, w: Tensor, gamma: Tensor, z: Tensor, rest: list[Any],
    dz: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients by x (where it is needed), w, gamma and beta; that by z goes into `dz`."""
    y, top, place, mean, r = rest
    dx = image(x, x.shape) if ctx.needs_input_grad[0] else None
    dw, dgamma, dbeta = kernel(w), gamma.new_empty(len(gamma)), gamma.new_empty(len(gamma))
    call(
        ctx, "backward", nhwc(g), flat(gz), y, top, place, z, flat(gamma), mean, r, nhwc(x), hwio(w), dz, dx, dw,
        dgamma, dbeta,
    )  # fmt: skip
    return dx, dw, dgamma, dbeta


def call(ctx: Any, name: str, *tensors: Tensor | None) -> None:
    """See Blocks.call."""
    ctx.blocks.call(name, ctx.sizes, ctx.settings.epsilon, ctx.settings.slope, tensors)


def nhwc(x: Tensor | None) -> Tensor | None:
    """Images as (n, h, w, c) in memory; no copy where they are."""
    return None if x is None else x.permute(0, 2, 3, 1).contiguous()


def hwio(w: Tensor | None) -> Tensor | None:
    """Weights as (3, 3, in, out) in memory; no copy where they are."""
    return None if w is None else w.permute(2, 3, 1, 0).contiguous()


def flat(vector: Tensor | None) -> Tensor | None:
    """A tensor in its usual order in memory."""
    return None if vector is None else vector.contiguous()


def image(like: Tensor, shape: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Empty images (n, c, h, w) that are (n, h, w, c) in memory."""
    n, c, h, w = shape
    return torch.empty((n, h, w, c), dtype=dtype or like.dtype).permute(0, 3, 1, 2)


def kernel(like: Tensor) -> Tensor:
    """Empty weights (o, i, 3, 3) that are (3, 3, i, o) in memory."""
    o, i, _, _ = like.shape
    return like.new_empty(3, 3, i, o).permute(3, 2, 0, 1)
