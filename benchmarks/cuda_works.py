"""What `benchmarks.cuda` times: meta-updates as the recipes of the papers have them, or pieces of them.

Images are random: their number and size cost time, not what is on them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from metabench.api import Algorithm, Shape, Splits, Suite, image_suite, stacked
from metabench_plugins.algorithms.fomaml import fomaml
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.algorithms.protonet import protonet
from metabench_plugins.suites import backbones
from metabench_plugins.suites.sinusoid import sinusoid


class Work(NamedTuple):
    """A meta-update as a suite's recipe has it."""

    name: str
    suite: Callable[[], Suite]
    algorithm: Callable[..., Algorithm]
    parameters: dict[str, float]
    tasks: int


def images(model: Callable[..., nn.Module], shape: Shape, classes: int, each: int, pixels: tuple[int, ...]) -> Suite:
    """A suite of random images of so many classes, `each` of every class."""

    @functools.cache
    def load() -> Splits:
        made = torch.randint(256, (classes, each, *pixels[1:]), dtype=torch.uint8)
        found = stacked(made, tuple(map(str, range(classes))))
        wide = found._replace(pixels=found.pixels.expand(-1, *pixels).contiguous())
        return Splits(dict.fromkeys(("train", "validation", "test"), wide))

    return image_suite("random", shape, load, model, {})


def works(small: bool) -> list[Work]:
    """What is timed: the recipes of the papers, or pieces of them."""
    tasks, filters, classes, photos = (2, 8, 40, 20) if small else (32, 64, 3000, 600)
    one, twenty = Shape(5, 1, 15), Shape(20, 1, 2 if small else 15)
    once, five = {"inner_lr": 0.4, "inner_steps": 1}, {"inner_lr": 0.1, "inner_steps": 5}

    def characters(shape: Shape, model: Callable[..., nn.Module]) -> Callable[[], Suite]:
        return functools.partial(images, functools.partial(model, shape.ways), shape, classes, 20, (1, 28, 28))

    def colours(shape: Shape) -> Callable[[], Suite]:
        return functools.partial(images, functools.partial(wide, shape.ways), shape, 64, photos, (3, 32, 32))

    conv = functools.partial(backbones.conv_strided, filters=filters)
    wide = functools.partial(backbones.conv_pool, filters=filters, channels=3, image_size=32)

    def flat(ways: int) -> nn.Module:
        return backbones.mlp_normalised(28 * 28, backbones.FULLY_CONNECTED, ways)

    return [
        Work("omniglot 5w1s maml", characters(one, conv), maml, once, tasks),
        Work("omniglot 5w1s maml, 1 query", characters(Shape(5, 1, 1), conv), maml, once, tasks),
        Work("omniglot 5w1s fomaml", characters(one, conv), fomaml, once, tasks),
        Work("omniglot 5w1s protonet", characters(one, conv), protonet, {}, tasks),
        Work("omniglot 5w1s mlp", characters(one, flat), maml, once, tasks),
        Work("omniglot 20w1s maml, 5 steps", characters(twenty, conv), maml, five, tasks // 2),
        Work("cifar 5w5s maml, 5 steps", colours(Shape(5, 5, 15)), maml, five | {"inner_lr": 0.01}, 2),
        Work("cifar 5w1s protonet", colours(one), protonet, {}, 4),
        Work("sinusoid maml", sinusoid, maml, {"inner_lr": 0.01, "inner_steps": 1}, 25),
    ]
