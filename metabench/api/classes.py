"""Classes of images in memory, or mapped from disk, and whether they are enough for a task."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

SHARES = (0.6, 0.2)
"""Of training and validation in a split that nobody gave; the rest is the test's."""


class Images(NamedTuple):
    """The classes of one split."""

    pixels: Tensor
    """uint8 (images, channels, height, width), all of a class in a row; mapped from disk where they are many. It may
    hold images of other splits too. Or features, float32 (images, dimensions)."""
    names: tuple[str, ...]
    """What each class was made from. Two classes may share a name: rotations of one character."""
    starts: Tensor
    """int64 (classes,): where the images of each class begin."""
    counts: Tensor
    """int64 (classes,): how many images each class has."""

    def only(self, names: Sequence[str]) -> Images:
        """The classes of these names, in this order."""
        place = {name: number for number, name in enumerate(self.names)}
        chosen = torch.tensor([place[name] for name in names], dtype=torch.int64)
        return Images(self.pixels, tuple(names), self.starts[chosen], self.counts[chosen])


def of_classes(pixels: Tensor, classes: Sequence[str]) -> Images:
    """Images (images, channels, height, width) with the class of each; all of a class stand in a row."""
    counts = Counter(classes)
    each = torch.tensor(list(counts.values()), dtype=torch.int64)
    return Images(pixels, tuple(counts), each.cumsum(0) - each, each)


def stacked(pixels: Tensor, names: tuple[str, ...]) -> Images:
    """Classes of equally many images: uint8 (classes, images, height, width), 255 where the ink is."""
    classes, each = pixels.shape[:2]
    flat = pixels.flatten(0, 1).unsqueeze(1)
    return Images(flat, names, torch.arange(classes) * each, torch.full((classes,), each))


class Splits(NamedTuple):
    """What a suite has loaded."""

    images: Mapping[str, Images]
    """By split."""
    notes: tuple[str, ...] = ()
    """See Suite."""
    digest: str = ""
    """See Suite; where it is left open, it is of the pixels and the names."""


class Shape(NamedTuple):
    """How many classes a task has, and how many images of each."""

    ways: int
    shots: int
    queries: int


def digest_of(splits: Mapping[str, Images]) -> str:
    """Of names and pixels."""
    whole = hashlib.sha256()
    for split, images in splits.items():
        whole.update(repr((split, images.names, images.counts.tolist(), images.pixels.shape)).encode())
        for first, count in zip(images.starts.tolist(), images.counts.tolist()):
            whole.update(images.pixels[first : first + count].contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


for_its_model: ContextVar[bool] = ContextVar("for_its_model", default=False)


@contextmanager
def for_its_model_alone() -> Iterator[None]:
    """Within it a suite can be made for more classes than its splits have: nothing of it is used but its model."""
    token = for_its_model.set(True)
    try:
        yield
    finally:
        for_its_model.reset(token)


def check_classes(shape: Shape, split: str, classes: int, word: str = "ways") -> None:
    """Raises ValueError if a split has too few classes for a task; `word` is what says how many a task has."""
    if shape.ways > classes and not for_its_model.get():
        raise ValueError(
            f"{word} is {shape.ways}, but the {split} split has {classes} classes: choose at most {classes}"
        )


def check_drawings(shape: Shape, drawings: int) -> None:
    """Raises ValueError if a class has too few drawings for a task."""
    if shape.shots + shape.queries > drawings:
        raise ValueError(
            f"shots + queries is {shape.shots + shape.queries}, but a class has {drawings} drawings: "
            f"choose at most {drawings} together"
        )


def without_small(images: Images, shape: Shape, split: str, notes: list[str]) -> Images:
    """The classes that have images enough for a task; a note names the others."""
    enough = images.counts >= shape.shots + shape.queries
    if bool(enough.all()):
        return images
    small = [f"'{name}' ({count})" for name, count, keep in rows(images, enough) if not keep]
    more = f" and {len(small) - 10} more" if len(small) > 10 else ""
    notes.append(
        f"{len(small)} of {len(enough)} {split} classes have under {shape.shots + shape.queries} images and are left "
        f"out: {', '.join(small[:10])}{more}"
    )
    kept = tuple(name for name, _, keep in rows(images, enough) if keep)  # names may be there twice
    return Images(images.pixels, kept, images.starts[enough], images.counts[enough])


def rows(images: Images, flags: Tensor) -> list[tuple[str, int, bool]]:
    """Name, number of images and flag of each class."""
    return list(zip(images.names, images.counts.tolist(), flags.tolist()))


def refuse_small(images: Images, shape: Shape, suite: str) -> None:
    """Raise ValueError for the class with the fewest images, if a task needs more of them.

    `suite` is named where it has a parameter `min_images`.
    """
    fewest, needed = int(images.counts.min()), shape.shots + shape.queries
    if fewest >= needed:
        return
    small = int((images.counts < needed).sum())
    few = f" ({small} classes have too few)" if small > 1 else ""
    drop = f", or leave out what is smaller with --set {suite}.min_images=drop" if suite else ""
    raise ValueError(
        f"shots + queries is {needed}, but class '{images.names[int(images.counts.argmin())]}' has {fewest} "
        f"images{few}: choose at most {fewest} together{drop}"
    )


def split_by_hash(names: Iterable[str]) -> dict[str, str]:
    """A split for each name: sorted by the hash of the name, 60% train, 20% validation, 20% test.

    It depends on the set of names alone. A name more or less may move others: who needs a fixed split writes it down.
    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    ends = [round(sum(SHARES[: i + 1]) * len(ordered)) for i in range(2)]
    return {
        name: "train" if place < ends[0] else "validation" if place < ends[1] else "test"
        for place, name in enumerate(ordered)
    }
