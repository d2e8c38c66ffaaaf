"""CAVIA: a shared network, and for each task a context vector that modulates one of its layers."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    NotApplicableError,
    PackageRecipes,
    Problem,
    Range,
    Rate,
    Size,
    Steps,
    hookimpl,
    partial_sgd,
    query_loss,
)


def cavia(
    problem: Problem,
    *,
    inner_lr: Rate = 1.0,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    context: Size = 5,
    layer: Annotated[int, Range()] = -1,
) -> Algorithm:
    """CAVIA: the inner loop moves `context` numbers, which start at zero for each task; the rest is meta-learnt.

    Zintgraf et al. 2019, arXiv 1810.03642, section 3. The context scales and shifts the channels of one layer's
    output, linearly (FiLM), as in section 4.2 of the paper. For regression the paper concatenates the context to the
    input, which shifts the first layer without scaling it. Raises NotApplicableError for a model without such a
    layer.

    Args:
        inner_lr: Step size of the inner loop, which moves the context.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        context: Numbers in the context of a task.
        layer: Index of the modulated layer among those with weights before the head, from 0, or from -1 backwards;
            the paper takes the third convolution after its normalisation.
    """
    layers = [name for name, weights in problem.layers.items() if not set(weights) & set(problem.head)]
    if not -len(layers) <= layer < len(layers):
        raise NotApplicableError(f"it has no layer {layer} to modulate: there are {len(layers)} before the head")
    path = layers[layer]
    wide = problem.wrap(lambda module: modulated(module, path, context))
    name = f"{path}.context"
    inner = partial_sgd(wide, inner_lr, [name])._replace(
        start=lambda meta, support: {name: torch.zeros_like(meta[name])}
    )
    objective = query_loss(wide, inner, inner_steps)
    return Algorithm(wide.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


class Modulated(nn.Module):
    """A layer whose output channels (n, channels, ...) are scaled by 1 + a and moved by b; (a, b) = film(context)."""

    def __init__(self, layer: nn.Module, context: int) -> None:
        super().__init__()
        *_, last = layer.parameters()
        self.layer = layer
        self.context = nn.Parameter(torch.zeros(context))
        self.film = nn.Linear(context, 2 * len(last))
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; without a context it is the layer itself."""
        outputs = self.layer(x)
        scale, shift = self.film(self.context).unflatten(0, (2, -1, *[1] * (outputs.dim() - 2)))
        modulated: Tensor = (1 + scale) * outputs + shift
        return modulated


def modulated(module: nn.Module, path: str, context: int) -> nn.Module:
    """The module with a context in the layer of that name."""
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, Modulated(module.get_submodule(path), context))
    return module


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"cavia": cavia}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Steps of 1.0 in all experiments of arXiv 1810.03642: they move context numbers, and no other algorithm's do.

    Sinusoids: section 5.1 and the code. Characters: the code's settings for mini-ImageNet; a quick run modulates the
    last block, in steps of 10, as with the published ones it needs more updates than it has.
    """
    images = {"inner_steps": 2, "context": 100, "meta_batch_size": 16, "test_steps": 2}
    third_block = (
        -3
    )  # of the layers before the head of four blocks of convolution and BatchNorm: the third's BatchNorm
    return {
        ("*", "*"): {"cavia": {"inner_lr": 1.0}},
        ("sinusoid", "*"): {"cavia": {"inner_steps": 1, "context": 5, "layer": 0}},
        ("sinusoid", "paper"): {"cavia": {"updates": 50_000}},
        ("omniglot", "*"): {"cavia": images},
        ("omniglot", "paper"): {"cavia": {"layer": third_block}},
        ("mini-imagenet", "*"): {"cavia": {**images, "meta_batch_size": 4, "layer": third_block}},
        ("omniglot", "quick"): {"cavia": {"inner_lr": 10.0, "layer": -1}},
    }
