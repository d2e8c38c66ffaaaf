"""Few-shot classification of images in memory: the tasks, the pool and the scores of such a suite."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from metabench.api.classes import (
    Images,
    Shape,
    Splits,
    check_classes,
    digest_of,
    refuse_small,
    without_small,
)
from metabench.api.contract import Batch, Pool, Predict, SampleFn, Suite, Task
from metabench.api.datasets import DataError
from metabench.api.gathering import Gather, as_input, gatherer
from metabench.records.recipe import Recipe

BINS = 10
"""Of confidence, in the calibration error."""


def image_suite(
    name: str,
    shape: Shape,
    load: Callable[[], Splits],
    model: Callable[[], nn.Module],
    recipes: Mapping[str, Recipe],
    min_images: Literal["refuse", "drop"] | None = None,
) -> Suite:
    """A suite over the splits that `load` gives; they are loaded when first needed and then kept.

    `min_images` says what becomes of a class that has too few images, and that the suite has a parameter for it.
    Raises ValueError for a shape that no data could have; the suite's functions raise DataError where this
    data has not enough classes or images.
    """
    for field, value in shape._asdict().items():
        least = 2 if field == "ways" else 1
        if value < least:
            raise ValueError(f"{field} must be at least {least}, not {value}")

    @functools.cache
    def splits() -> Splits:
        loaded = load()
        images, notes = dict(loaded.images), list(loaded.notes)
        try:
            for split, found in images.items():
                if min_images == "drop":
                    images[split] = without_small(found, shape, split, notes)
                check_classes(shape, split, len(images[split].names))
                refuse_small(images[split], shape, name if min_images else "")
        except ValueError as error:
            raise DataError(f"Suite '{name}': {error}") from None
        return Splits(images, tuple(notes), loaded.digest)

    def of(split: str) -> Images:
        loaded = splits().images
        if split not in loaded:
            raise ValueError(f"Suite '{name}' has no split '{split}'. Available: {', '.join(loaded)}.")
        return loaded[split]

    def prepare() -> None:
        splits()

    return Suite(
        sample=ImageTasks(of, shape),
        model=model,
        loss=cross_entropy,
        metrics=classification_scores,
        higher_is_better=True,
        groups=lambda split: frozenset(of(split).names),
        ways=shape.ways,
        pool=lambda: pool_of(of("train")),
        recipes=recipes,
        prepare=prepare,
        notes=lambda: splits().notes,
        digest=lambda: splits().digest or digest_of(splits().images),
    )


class ImageTasks:
    """The `sample` of an image suite; training tasks may be of another shape."""

    def __init__(self, of: Callable[[str], Images], shape: Shape, training: Shape | None = None) -> None:
        self.of, self.shape, self.training = of, shape, training
        self.gatherers: dict[tuple[str, int], Gather] = {}
        """By device and pixels, which splits may share."""

    def __call__(self, split: str, n: int, generator: Generator) -> Task:
        return sample_tasks(self.of(split), self.shape_of(split), n, generator)

    def shape_of(self, split: str) -> Shape:
        """Of the tasks of a split."""
        return self.training if self.training and split == "train" else self.shape

    def images(self, split: str, word: str = "ways") -> Images:
        """Those of a split; raises ValueError where they are not enough for its tasks, see check_classes."""
        found, shape = self.of(split), self.shape_of(split)
        check_classes(shape, split, len(found.names), word)
        refuse_small(found, shape, "")
        return found

    def on(self, device: str) -> SampleFn:
        """The sampler whose images are on a device: the same tasks, bit for bit. Others may have such a method."""

        def sample(split: str, n: int, generator: Generator) -> Task:
            images = self.of(split)
            place = (device, images.pixels.data_ptr())
            if place not in self.gatherers:
                self.gatherers[place] = gatherer(images.pixels, device)
            return sample_tasks(images, self.shape_of(split), n, generator, self.gatherers[place])

        return sample


def sample_tasks(images: Images, shape: Shape, n: int, generator: Generator, gather: Gather | None = None) -> Task:
    """n tasks from the classes of one split, where `gather` has its images; the CPU draws them all.

    Support x is float32 (n, shots * ways, channels, h, w) in [0, 1], y int64 (n, shots * ways); the query set
    likewise with `queries`. The classes of a task are distinct and its labels are dealt out at random; an
    image occurs once. Points are ordered shot by shot, each shot one image of every class in the order of
    their labels, so that any k * ways points in a row hold every class k times.
    """
    ways, each = shape.ways, shape.shots + shape.queries
    of_label = distinct(n, ways, len(images.names), generator)
    counts = images.counts[of_label.flatten()]
    equal = bool((images.counts == images.counts[0]).all())
    chosen = distinct(n * ways, each, int(counts[0]) if equal else counts, generator)
    index = images.starts[of_label][:, :, None] + chosen.view(n, ways, each)
    x = (gather or gatherer(images.pixels, "cpu"))(index.transpose(1, 2).reshape(n, each * ways))
    y = torch.arange(ways, device=x.device).repeat(n, each)
    cut = shape.shots * ways
    return Task(Batch(x[:, :cut], y[:, :cut]), Batch(x[:, cut:], y[:, cut:]))


def distinct(rows: int, count: int, population: int | Tensor, generator: Generator) -> Tensor:
    """`count` distinct numbers below the population in every row: int64 (rows, count), all orders as likely.

    The population is one for all rows, or that of each, int64 (rows,). Floyd's sampling (Bentley and Floyd 1987), all
    rows at once, then a shuffle: `count` small steps, where sorting random keys would cost the whole population.
    """
    chosen = torch.empty(rows, count, dtype=torch.int64)
    for place in range(count):
        last = population - count + place
        if isinstance(last, int):
            drawn = torch.randint(last + 1, (rows,), generator=generator)
        else:
            drawn = (torch.rand(rows, dtype=torch.float64, generator=generator) * (last + 1)).long()
        taken = (chosen[:, :place] == drawn[:, None]).any(1)
        chosen[:, place] = torch.where(taken, last, drawn)
    order = torch.rand(rows, count, dtype=torch.float64, generator=generator).argsort(1)
    return chosen.gather(1, order)


def pool_of(images: Images) -> Pool:
    """The images of one split as one labelled data set; points are drawn with replacement."""
    target = torch.arange(len(images.counts)).repeat_interleave(images.counts)
    shift = images.starts - (images.counts.cumsum(0) - images.counts)

    def sample(n: int, generator: Generator) -> Batch:
        index = torch.randint(len(target), (n,), generator=generator)
        y = target[index]
        return Batch(as_input(images.pixels[index + shift[y]]), y)

    return Pool(len(images.counts), sample)


def cross_entropy(predict: Predict, batch: Batch) -> Tensor:
    """The mean cross-entropy of the logits (s, ways), in nats."""
    return F.cross_entropy(predict(batch.x), batch.y)


def classification_scores(predict: Predict, batch: Batch) -> dict[str, Tensor]:
    """The share of right answers, the cross-entropy in nats, and how far the probabilities can be trusted."""
    logits = predict(batch.x)
    chances, right = logits.softmax(-1), (logits.argmax(-1) == batch.y).to(logits.dtype)
    return {
        "accuracy": right.float().mean(),
        "loss": F.cross_entropy(logits, batch.y),
        "brier": brier(chances, batch.y),
        "calibration_error": calibration_error(chances.amax(-1), right),
    }


def brier(chances: Tensor, y: Tensor) -> Tensor:
    """Brier's score (1950): the mean squared distance of the probabilities (q, ways) from the truth, 0 to 2."""
    truth = y[:, None] == torch.arange(chances.shape[-1], device=y.device)
    return (chances - truth.to(chances.dtype)).square().sum(-1).mean()


def calibration_error(confidence: Tensor, right: Tensor) -> Tensor:
    """Expected calibration error (Naeini et al. 2015): |share right - mean confidence|, averaged over BINS bins.

    Of one task's query points (q,). With few of them it is above 0 for a perfectly calibrated learner too: compare it
    at equal numbers of query points.
    """
    place = (confidence * BINS).floor().clamp(0, BINS - 1)
    member = (place[:, None] == torch.arange(BINS, device=place.device)).to(confidence.dtype)
    return (member * (right - confidence)[:, None]).sum(0).abs().sum() / len(right)
