"""A few-shot suite whose training differs from its test: in the size of tasks, or by images that are changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from metabench.api.classes import Shape, for_its_model_alone
from metabench.api.contract import Batch, Pool, Predict, SampleFn, Suite, Task
from metabench.api.few_shot import ImageTasks

FRAME = 8
"""The share of an image's side that a crop may be moved by: 4 of 32 pixels, as is usual for CIFAR."""
JITTER = 0.4
GREY = (0.299, 0.587, 0.114)
"""ITU-R 601: what red, green and blue count for in brightness."""


def trained_apart(suite: Suite, given: Mapping[str, int], make: Callable[[int], Suite]) -> Suite:
    """The suite with `train_ways`, `test_ways`, `test_shots` and `test_queries` as given; 0 is as it is.

    `make` makes the suite for a number of ways. With `train_ways` the model has an output for each class of
    training, of which a task of the test uses the first; the others do not count in its scores. `test_ways` is
    Suite's. Raises ValueError, `prepare` too.
    """
    tasks = suite.sample
    if not isinstance(tasks, ImageTasks):
        raise ValueError(f"its tasks are of its own making, and have no {', '.join(given)}")
    ways, shots, queries = tasks.shape
    wide, other = given.get("train_ways") or ways, given.get("test_ways") or ways
    if wide < ways:
        raise ValueError(f"train_ways is {wide}, and must be at least ways, {ways}: the model has as many outputs")
    if other == 1:
        raise ValueError("test_ways is 1, and must be at least 2")
    if wide > ways and other != ways:
        raise ValueError("train_ways and test_ways are both given: ways is training's where test_ways is the test's")
    test = Shape(other, given.get("test_shots") or shots, given.get("test_queries") or queries)
    apart = ImageTasks(tasks.of, test, Shape(wide, shots, queries))

    def prepare(before: Callable[[], None] = suite.prepare) -> None:
        before()
        for split in ("validation", "test"):
            apart.images(split, "test_ways" if other != ways else "ways")
        if wide > ways:
            apart.images("train", "train_ways")

    def model_for(number: int) -> Callable[[], nn.Module]:
        with for_its_model_alone():
            return make(number).model

    suite = suite._replace(sample=apart, prepare=prepare)
    if other != ways:
        return suite._replace(test_ways=other, test_model=model_for(other))
    if wide == ways:
        return suite
    metrics = suite.metrics
    return suite._replace(
        ways=wide,
        model=model_for(wide),
        metrics=lambda predict, batch: metrics(among_present(predict, batch.y), batch),
    )


def as_tested(suite: Suite) -> Suite:
    """The suite as its validation and test tasks have it, in training too: with `test_ways` for its `ways`.

    Raises ValueError where it lacks the model for so many.
    """
    if suite.test_ways is None:
        return suite
    if suite.test_model is None:
        raise ValueError(f"test_ways is {suite.test_ways}, and test_model, the model for so many classes, is missing")
    tasks = suite.sample

    def sample(split: str, n: int, generator: Generator) -> Task:
        return tasks("validation" if split == "train" else split, n, generator)

    return suite._replace(
        sample=sample, ways=suite.test_ways, model=suite.test_model, test_ways=None, test_model=None
    )


def among_present(predict: Predict, y: Tensor) -> Predict:
    """Logits in which a class without a point in y (q,) cannot be chosen."""

    def only(x: Tensor) -> Tensor:
        logits = predict(x)
        present = (y[:, None] == torch.arange(logits.shape[-1], device=y.device)).any(0)
        return logits.masked_fill(~present, -torch.inf)

    return only


def augmented(suite: Suite, how: str) -> Suite:
    """The suite whose training images are changed at random; those of validation and test are as they were.

    `how` names some of flip, crop and jitter. Raises ValueError where a suite is used that has no colour images.
    """
    pool, tasks = suite.pool, AugmentedTasks(suite.sample, how)
    return suite._replace(sample=tasks, pool=pool and (lambda: changed_pool(pool(), tasks.varied)))


def changed_pool(pool: Pool, change: Callable[[Batch, Generator], Batch]) -> Pool:
    """The pool with every batch changed."""
    return pool._replace(sample=lambda n, generator: change(pool.sample(n, generator), generator))


class AugmentedTasks:
    """The `sample` of an augmented suite."""

    def __init__(self, tasks: SampleFn, how: str) -> None:
        self.tasks, self.how = tasks, how

    def __call__(self, split: str, n: int, generator: Generator) -> Task:
        return self.changed(self.tasks(split, n, generator), split, generator)

    def on(self, device: str) -> SampleFn:
        """See ImageTasks."""
        on: Any = getattr(self.tasks, "on", None)
        tasks: SampleFn = on(device) if on else self.tasks
        return lambda split, n, generator: self.changed(tasks(split, n, generator), split, generator)

    def changed(self, tasks: Task, split: str, generator: Generator) -> Task:
        """The tasks, changed if they are for training; the CPU draws."""
        if split != "train":
            return tasks
        return Task(*(self.varied(batch, generator) for batch in tasks))

    def varied(self, batch: Batch, generator: Generator) -> Batch:
        """A batch of training, changed."""
        return batch._replace(x=varied(batch.x, self.how, generator))


def varied(x: Tensor, how: str, generator: Generator) -> Tensor:
    """Images (..., 3, height, width) in [0, 1], each changed by itself. Raises ValueError for others."""
    if x.dim() < 4 or x.shape[-3] != 3:
        raise ValueError(f"augment is for colour images, and these are {tuple(x.shape[-3:])}")
    flat = x.flatten(0, -4)

    def draw(*shape: int) -> Tensor:
        return torch.rand(len(flat), *shape, generator=generator).to(x.device)

    if "flip" in how:
        flat = torch.where(draw()[:, None, None, None] < 0.5, flat.flip(-1), flat)
    if "crop" in how:
        flat = moved(flat, draw(2))
    if "jitter" in how:
        flat = jittered(flat, 1 + JITTER * (2 * draw(3) - 1))
    shaped: Tensor = flat.view(x.shape)
    return shaped


def moved(x: Tensor, where: Tensor) -> Tensor:
    """Images (n, channels, height, width), cut out of themselves in a black frame, at places in [0, 1): (n, 2)."""
    n, channels, *sides = x.shape
    frame = [side // FRAME for side in sides]
    x = F.pad(x, (frame[1], frame[1], frame[0], frame[0]))
    for axis, side in enumerate(sides):
        first = (where[:, axis] * (2 * frame[axis] + 1)).long()
        index = first[:, None] + torch.arange(side, device=x.device)
        view = index[:, None, :, None] if axis == 0 else index[:, None, None, :]
        shape = (n, channels, side, x.shape[3]) if axis == 0 else (n, channels, x.shape[2], side)
        x = x.gather(2 + axis, view.expand(shape))
    return x


def jittered(x: Tensor, factors: Tensor) -> Tensor:
    """Images (n, 3, height, width) by factors (n, 3) of brightness, contrast and saturation."""
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    weights = torch.tensor(GREY, device=x.device)[:, None, None]
    x = (x * brightness).clamp(0, 1)
    mean = (x * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    x = (mean + (x - mean) * contrast).clamp(0, 1)
    grey = (x * weights).sum(1, keepdim=True)
    varying: Tensor = (grey + (x - grey) * saturation).clamp(0, 1)
    return varying
