"""CAVIA: a shared network, and for each task a context vector that modulates one of its layers."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

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
from metabench_plugins.algorithms.embeddings import with_layer


def cavia(
    problem: Problem,
    *,
    inner_lr: Rate = 1.0,
    inner_steps: Steps = 1,
    outer_lr: Rate = 1e-3,
    context: Size = 5,
    layer: Annotated[int, Range()] = -1,
    mode: Literal["film", "concatenate"] = "film",
    final_share: Annotated[float, Range(gt=0, le=1)] = 1.0,
) -> Algorithm:
    """CAVIA: the inner loop moves `context` numbers, which start at zero for each task; the rest is meta-learnt.

    Zintgraf et al. 2019, arXiv 1810.03642, section 3. Initial weights of what is added are those of the authors'
    code, but not its clipping of gradients at 10. Raises NotApplicableError for a model without such a layer.

    Args:
        inner_lr: Step size of the inner loop, which moves the context.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
        context: Numbers in the context of a task.
        layer: Index of the modulated layer among those with weights before the head, from 0, or from -1 backwards;
            the paper takes the third convolution after its normalisation.
        mode: What the context does there. `film`: it gives the scale and the shift of each output channel, linearly,
            as on the paper's images (section 4.2). `concatenate`: it stands beside the layer's inputs, which shifts
            its outputs and scales nothing, as in the paper's regression (section 5.1).
        final_share: What is left of `outer_lr` at the last update, to which it decays exponentially.
    """
    layers = [name for name, weights in problem.layers.items() if not set(weights) & set(problem.head)]
    if not -len(layers) <= layer < len(layers):
        raise NotApplicableError(f"it has no layer {layer} to modulate: there are {len(layers)} before the head")
    path = layers[layer]
    wide = problem.wrap(lambda module: modulated(module, path, context, mode))
    name = f"{path}.context"
    inner = partial_sgd(wide, inner_lr, [name])._replace(
        start=lambda meta, support: {name: torch.zeros_like(meta[name])}
    )
    objective = query_loss(wide, inner, inner_steps)
    optimizer = partial(Adam, lr=outer_lr)
    return Algorithm(
        wide.init, inner, objective, optimizer=optimizer, schedule=lambda progress: final_share**progress
    )


class Film(nn.Module):
    """A layer whose output channels (n, channels, ...) are scaled by a and moved by b; (a, b) = film(context)."""

    def __init__(self, layer: nn.Module, context: int) -> None:
        super().__init__()
        *_, last = layer.parameters()
        self.layer = layer
        self.context = nn.Parameter(torch.zeros(context))
        self.film = nn.Linear(context, 2 * len(last))
        nn.init.kaiming_uniform_(self.film.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        outputs = self.layer(x)
        scale, shift = self.film(self.context).unflatten(0, (2, -1, *[1] * (outputs.dim() - 2)))
        modulated: Tensor = scale * outputs + shift
        return modulated


class Concatenated(nn.Module):
    """A layer whose inputs have the context beside them: its outputs (n, channels, ...) move by linear(context)."""

    def __init__(self, layer: nn.Module, context: int) -> None:
        super().__init__()
        first, *_ = layer.parameters()
        self.layer = layer
        self.context = nn.Parameter(torch.zeros(context))
        self.linear = nn.Linear(context, len(first), bias=False)
        width = (first[0].numel() + context) ** -0.5  # torch's default for a layer of all these inputs
        nn.init.uniform_(self.linear.weight, -width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; a context of zeros changes nothing."""
        outputs = self.layer(x)
        moved: Tensor = outputs + self.linear(self.context).view(-1, *[1] * (outputs.dim() - 2))
        return moved


def modulated(module: nn.Module, path: str, context: int, mode: str) -> nn.Module:
    """The module with a context in the layer of that name."""
    wide = Film if mode == "film" else Concatenated
    return with_layer(module, path, wide(module.get_submodule(path), context))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"cavia": cavia}


@hookimpl
def register_recipes() -> PackageRecipes:
    """Steps of 1.0 in all experiments of arXiv 1810.03642: they move context numbers, and no other algorithm's do.

    Sinusoids: section 5.1 and the code, which tests with 10 points. Characters: the code's settings for
    mini-ImageNet, whose rate falls by a tenth every 5,000 updates, to 0.28 at 60,000. A quick run takes five times
    that rate, at which 250 updates do no better than no training; scales start near zero, and have to grow first.
    """
    third_block = -3  # the third BatchNorm, of four blocks of convolution and BatchNorm
    images = {"inner_steps": 2, "context": 100, "layer": third_block, "meta_batch_size": 16, "test_steps": 2}
    sinusoid = {"inner_steps": 1, "context": 5, "layer": 0, "mode": "concatenate"}
    return {
        ("*", "*"): {"cavia": {"inner_lr": 1.0}},
        ("sinusoid", "*"): {"cavia": sinusoid},
        ("sinusoid", "paper"): {"cavia": {"updates": 50_000}},
        ("omniglot", "*"): {"cavia": images},
        ("omniglot", "quick"): {"cavia": {"outer_lr": 5e-3}},
        ("omniglot", "paper"): {"cavia": {"final_share": 0.28}},
        ("mini-imagenet", "*"): {"cavia": {**images, "meta_batch_size": 4}},
        ("mini-imagenet", "paper"): {"cavia": {"final_share": 0.28}},
    }
