"""T-Nets: a learnt linear map behind every layer, which the inner loop leaves alone, shapes its gradients."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import nn
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    PackageRecipes,
    Problem,
    Rate,
    Steps,
    hookimpl,
    partial_sgd,
    query_loss,
)


def tnet(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML on a model with a transformation behind each linear or convolutional layer, over its channels.

    The inner loop moves the layers, the outer loop both; the transformations start as the identity, where it is MAML.
    Lee and Choi 2018, arXiv 1801.05558, section 3.1; WarpGrad (arXiv 1909.00025) is the same idea with other warps.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    wide = problem.wrap(transformed)
    maps = maps_of(wide.module())
    inner = partial_sgd(wide, inner_lr, [name for name in wide.init() if name not in maps])
    return Algorithm(wide.init, inner, query_loss(wide, inner, inner_steps), optimizer=partial(Adam, lr=outer_lr))


class Transformed(nn.Sequential):
    """A layer (.., o, ...) and a linear map of its o channels, which starts as the identity."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        channels = layer.weight.shape[0]
        kind = nn.Linear if isinstance(layer, nn.Linear) else partial(nn.Conv2d, kernel_size=1)
        transform = kind(channels, channels, bias=False)
        with torch.no_grad():
            transform.weight.copy_(torch.eye(channels).view_as(transform.weight))
        super().__init__(OrderedDict(layer=layer, transform=transform))


def transformed(module: nn.Module) -> nn.Module:
    """The module with every linear and convolutional layer transformed; one that is used twice stays one."""
    made: dict[nn.Module | None, nn.Module] = {
        layer: Transformed(layer) for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))
    }
    for parent in [each for each in module.modules() if each not in made]:
        for name, child in parent._modules.items():
            parent._modules[name] = made.get(child, child)
    return made.get(module, module)


def maps_of(module: nn.Module) -> set[str]:
    """The names of the transformations' weights."""
    maps = {id(layer[1].weight) for layer in module.modules() if isinstance(layer, Transformed)}
    return {name for name, weight in module.named_parameters() if id(weight) in maps}


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"tnet": tnet}


@hookimpl
def register_recipes() -> PackageRecipes:
    """MAML's settings, which it builds on, and no more test steps than step sizes were learnt for."""
    return {("sinusoid", "*"): {"tnet": {"test_steps": 1}}, ("mini-imagenet", "*"): {"tnet": {"test_steps": 5}}}
