"""T-Nets: a learnt linear map behind every layer, which the inner loop leaves alone, shapes its gradients."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
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
    Lee and Choi 2018, arXiv 1801.05558, section 3.1; WarpGrad (Flennerhag et al. 2020, arXiv 1909.00025) is the same
    idea with other warps.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    wide = problem.wrap(transformed)
    maps = maps_of(wide.module())
    inner = partial_sgd(wide, inner_lr, [name for name in wide.init() if name not in maps])
    objective = query_loss(wide, inner, inner_steps)
    return Algorithm(wide.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


class Transformed(nn.Module):
    """A layer (.., o, ...) and a linear map of its o channels, which starts as the identity."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        channels = layer.weight.shape[0]
        self.transform = (
            nn.Linear(channels, channels, bias=False)
            if isinstance(layer, nn.Linear)
            else nn.Conv2d(channels, channels, 1, bias=False)
        )
        with torch.no_grad():
            self.transform.weight.copy_(torch.eye(channels).view_as(self.transform.weight))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        outputs: Tensor = self.transform(self.layer(x))
        return outputs


def transformed(module: nn.Module) -> nn.Module:
    """The module with every linear and convolutional layer transformed; one that is used twice stays one."""
    done: dict[nn.Module, nn.Module] = {}

    def visit(module: nn.Module) -> nn.Module:
        if module in done:
            return done[module]
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            done[module] = Transformed(module)
            return done[module]
        done[module] = module
        for name, child in list(module._modules.items()):
            if child is not None:
                setattr(module, name, visit(child))
        return module

    return visit(module)


def maps_of(module: nn.Module) -> set[str]:
    """The names of the transformations' weights."""
    maps = {id(layer.transform.weight) for layer in module.modules() if isinstance(layer, Transformed)}
    return {name for name, weight in module.named_parameters() if id(weight) in maps}


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"tnet": tnet}


@hookimpl
def register_recipes() -> PackageRecipes:
    """MAML's settings, which it builds on, and no more test steps than step sizes were learnt for."""
    return {("sinusoid", "*"): {"tnet": {"test_steps": 1}}, ("mini-imagenet", "*"): {"tnet": {"test_steps": 5}}}
