"""Few-shot classification of images in memory: the tasks, the pool and the scores of such a suite."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from metabench.api import Batch, DataError, Pool, Predict, Recipe, Suite, Task


class Images(NamedTuple):
    """The classes of one split."""

    pixels: Tensor
    """uint8 (classes, drawings, height, width), 255 where the ink is; or, with `counts`, (images, channels, height,
    width), class after class."""
    names: tuple[str, ...]
    """What each class was made from. Two classes may share a name: rotations of one character."""
    counts: Tensor | None = None
    """int64 (classes,): how many images each class has, where that differs."""

    @property
    def flat(self) -> Tensor:
        """The same pixels (images, channels, height, width)."""
        return self.pixels.flatten(0, 1).unsqueeze(1) if self.counts is None else self.pixels

    @property
    def fewest(self) -> int:
        """Images that every class has."""
        return self.pixels.shape[1] if self.counts is None else int(self.counts.min())


class Shape(NamedTuple):
    """How many classes a task has, and how many images of each."""

    ways: int
    shots: int
    queries: int


def image_suite(
    name: str,
    shape: Shape,
    load: Callable[[], Mapping[str, Images]],
    model: Callable[[], nn.Module],
    recipes: Mapping[str, Recipe],
) -> Suite:
    """A suite over the splits that `load` gives; they are loaded when first needed and then kept.

    Raises ValueError for a shape that no data could have; the suite's functions raise DataError where this
    data has not enough classes or drawings.
    """
    for field, value in shape._asdict().items():
        least = 2 if field == "ways" else 1
        if value < least:
            raise ValueError(f"{field} must be at least {least}, not {value}")

    @functools.cache
    def splits() -> Mapping[str, Images]:
        loaded = load()
        for split, images in loaded.items():
            try:
                check_classes(shape, split, len(images.names))
                check_drawings(shape, images.fewest)
            except ValueError as error:
                raise DataError(f"Suite '{name}': {error}") from None
        return loaded

    def of(split: str) -> Images:
        loaded = splits()
        if split not in loaded:
            raise ValueError(f"Suite '{name}' has no split '{split}'. Available: {', '.join(loaded)}.")
        return loaded[split]

    def prepare() -> None:
        splits()

    return Suite(
        sample=lambda split, n, generator: sample_tasks(of(split), shape, n, generator),
        model=model,
        loss=cross_entropy,
        metrics=scores,
        higher_is_better=True,
        groups=lambda split: frozenset(of(split).names),
        ways=shape.ways,
        pool=lambda: pool_of(of("train")),
        recipes=recipes,
        prepare=prepare,
    )


def check_classes(shape: Shape, split: str, classes: int) -> None:
    """Raises ValueError if a split has too few classes for a task."""
    if shape.ways > classes:
        raise ValueError(
            f"ways is {shape.ways}, but the {split} split has {classes} classes: choose at most {classes}"
        )


def check_drawings(shape: Shape, drawings: int) -> None:
    """Raises ValueError if a class has too few drawings for a task."""
    if shape.shots + shape.queries > drawings:
        raise ValueError(
            f"shots + queries is {shape.shots + shape.queries}, but a class has {drawings} drawings: "
            f"choose at most {drawings} together"
        )


def sample_tasks(images: Images, shape: Shape, n: int, generator: Generator) -> Task:
    """n tasks from the classes of one split.

    Support x is float32 (n, shots * ways, channels, h, w) in [0, 1], y int64 (n, shots * ways); the query set
    likewise with `queries`. The classes of a task are distinct and its labels are dealt out at random; an
    image occurs once. Points are ordered shot by shot, each shot one image of every class in the order of
    their labels, so that any k * ways points in a row hold every class k times.
    """
    ways, each = shape.ways, shape.shots + shape.queries
    of_label = distinct(n, ways, len(images.names), generator)
    if images.counts is None:
        chosen = distinct(n * ways, each, images.fewest, generator)
        first = of_label * images.fewest
    else:
        chosen = distinct_of(images.counts[of_label.flatten()], each, generator)
        first = (images.counts.cumsum(0) - images.counts)[of_label]
    index = (first[:, :, None] + chosen.view(n, ways, each)).transpose(1, 2).reshape(n, each * ways)
    x = as_input(images.flat[index])
    y = torch.arange(ways).repeat(n, each)
    cut = shape.shots * ways
    return Task(Batch(x[:, :cut], y[:, :cut]), Batch(x[:, cut:], y[:, cut:]))


def distinct(rows: int, count: int, population: int, generator: Generator) -> Tensor:
    """`count` distinct numbers below `population` in every row: int64 (rows, count), all orders as likely.

    Floyd's sampling (Bentley and Floyd 1987), all rows at once, then a shuffle: `count` small steps, where
    sorting random keys would cost the whole population.
    """
    chosen = torch.empty(rows, count, dtype=torch.int64)
    for place, last in enumerate(range(population - count, population)):
        drawn = torch.randint(last + 1, (rows,), generator=generator)
        taken = (chosen[:, :place] == drawn[:, None]).any(1)
        chosen[:, place] = torch.where(taken, last, drawn)
    order = torch.rand(rows, count, dtype=torch.float64, generator=generator).argsort(1)
    return chosen.gather(1, order)


def distinct_of(populations: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` distinct numbers below each population (rows,): int64 (rows, count), all orders as likely."""
    keys = torch.rand(len(populations), int(populations.max()), generator=generator)
    keys[torch.arange(keys.shape[1]) >= populations[:, None]] = 2.0  # beyond every key
    return keys.topk(count, largest=False, sorted=True).indices


def as_input(pixels: Tensor) -> Tensor:
    """uint8 pixels to what a network reads: float32 in [0, 1]."""
    return pixels.float().div_(255)


def pool_of(images: Images) -> Pool:
    """The images of one split as one labelled data set; points are drawn with replacement."""
    counts = torch.full((len(images.names),), images.fewest) if images.counts is None else images.counts
    target = torch.arange(len(counts)).repeat_interleave(counts)

    def sample(n: int, generator: Generator) -> Batch:
        index = torch.randint(len(target), (n,), generator=generator)
        return Batch(as_input(images.flat[index]), target[index])

    return Pool(len(counts), sample)


def cross_entropy(predict: Predict, batch: Batch) -> Tensor:
    """The mean cross-entropy of the logits (s, ways), in nats."""
    return F.cross_entropy(predict(batch.x), batch.y)


def scores(predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The share of right answers, and the cross-entropy in nats."""
    logits = predict(batch.x)
    right = logits.argmax(-1) == batch.y
    return {"accuracy": right.float().mean(), "loss": F.cross_entropy(logits, batch.y)}
