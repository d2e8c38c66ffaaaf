"""Convolutions as products with patches: the same function, with its derivatives, whatever the window."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap

from metabench.engine.blocks import patches
from metabench.engine.blocks.fuse import fuse
from metabench.engine.blocks.patches import Overlaid, PatchedConv2d, Patches, Window, patched
from metabench.engine.problem import quick_layers


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What is drawn is the same in every run."""
    torch.manual_seed(0)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel = draw(pairs)
    margin = (draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1)))
    size = (draw(st.integers(kernel[0], 7)), draw(st.integers(kernel[1], 7)))
    return Window(kernel, draw(pairs), margin, size)


@given(windows())
def test_patches_and_overlaid_are_transposes(window: Window) -> None:
    x = torch.randn(2, 3, *window.size, dtype=torch.float64)
    made = Patches.apply(x, window)
    other = torch.randn_like(made)
    torch.testing.assert_close((made * other).sum(), (x * Overlaid.apply(other, window)).sum())


@given(windows())
def test_it_is_the_convolution_task_by_task_with_weights_of_their_own(window: Window) -> None:
    conv = nn.Conv2d(3, 4, window.kernel, window.stride, window.padding).double()
    mine = patched(copy.deepcopy(conv))
    weights = {name: torch.randn(2, *w.shape, dtype=torch.float64) for name, w in conv.named_parameters()}
    x = torch.randn(2, 5, 3, *window.size, dtype=torch.float64)

    def of(layer: nn.Module) -> torch.Tensor:
        return vmap(lambda w, x: functional_call(layer, w, (x,)))(weights, x)

    assert type(mine) is PatchedConv2d
    assert mine.state_dict().keys() == conv.state_dict().keys()
    torch.testing.assert_close(of(mine), of(conv))


def test_first_and_second_derivatives() -> None:
    window = Window((3, 2), (2, 1), (1, 0), (5, 4))
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: Patches.apply(x, window), x)
    assert gradgradcheck(lambda x: Patches.apply(x, window).pow(2), x)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_step_and_its_derivative_agree_with_the_layers_own(stride: int) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride, 1), nn.Tanh(), nn.Conv2d(4, 2, 3, stride, 1)).double()
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    x, y = torch.randn(2, 3, 3, 1, 6, 6, dtype=torch.float64).unbind()

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(of, weights, (x,)).pow(2).mean()

    def adapted(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        steps = grad(loss)(weights, x)
        return loss({name: weights[name] - 0.5 * steps[name] for name in weights}, y)

    of = patched(copy.deepcopy(net))
    mine = vmap(grad(adapted), (None, 0, 0))(weights, x, y)
    of = net
    torch.testing.assert_close(mine, vmap(grad(adapted), (None, 0, 0))(weights, x, y))


def test_what_is_no_plain_convolution_and_what_is_switched_off_runs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(1, 2, 3, dilation=2), nn.Conv2d(1, 2, 3, padding="same")]
    layers += [nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")]
    assert all(type(patched(layer)) is nn.Conv2d for layer in layers)
    for enabled, quick in ((False, fuse), (True, patched)):
        token = patches.ENABLED.set(enabled)
        assert quick_layers("cuda") is quick
        assert quick_layers("cpu") is fuse
        patches.ENABLED.reset(token)
    apply, used = Patches.apply, list[bool]()
    monkeypatch.setattr(Patches, "apply", lambda *args: used.append(True) or apply(*args))
    vmap(patched(nn.Conv2d(1, 2, 3)))(torch.randn(2, 3, 1, 5, 5))
    assert used
