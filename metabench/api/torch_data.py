"""Any data set of torch's kind, pairs of an image and its class, as a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from metabench.api.classes import Images, Shape, Splits, of_classes, split_by_hash
from metabench.api.contract import Suite
from metabench.api.few_shot import image_suite
from metabench.records.recipe import Recipe

Model = Callable[[], nn.Module]


class Pairs(Protocol):
    """What `torch.utils.data.Dataset` is: of learn2learn, torchvision, or one's own."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def dataset_suite(
    train: Pairs | Callable[[], Pairs],
    validation: Pairs | Callable[[], Pairs] | None = None,
    test: Pairs | Callable[[], Pairs] | None = None,
    *,
    model: Model,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    name: str = "dataset",
    recipes: Mapping[str, Recipe] | None = None,
    min_images: Literal["refuse", "drop"] = "refuse",
    own_numbers: bool = False,
) -> Suite:
    """Few-shot classification on data sets of (image, class), or functions that make them, read when first needed.

    Images are tensors or arrays (channels, height, width), PIL images, or vectors of features, of one shape. Bytes
    become 0 to 1, other numbers stay. Without `validation` and `test` the classes of `train` are split by
    the hash of their names, 60%, 20% and 20%. A class is called as the data set's `classes` say, or by its number;
    three data sets that number their classes each from 0 need `own_numbers`.

    Args:
        train: The data set whose classes train.
        validation: That of validation.
        test: That of the test.
        model: Makes a freshly initialised network with `ways` outputs.
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set.
        name: What messages call the suite.
        recipes: Settings by name.
        min_images: What becomes of a class with fewer than shots + queries images: refuse all, or drop the class.
        own_numbers: Whether class 3 of one data set is not class 3 of another.

    Raises ValueError for two data sets, and where one is read for images of several shapes.
    """
    if (validation is None) != (test is None):
        raise ValueError("give a data set for each of train, validation and test, or one for all")

    def load() -> Splits:
        if validation is None or test is None:
            images = read(train, "")
            of = split_by_hash(set(images.names))
            return Splits(
                {s: images.only(sorted(n for n in of if of[n] == s)) for s in ("train", "validation", "test")}
            )
        given = {"train": train, "validation": validation, "test": test}
        return Splits({split: read(each, f"{split} " if own_numbers else "") for split, each in given.items()})

    small: Literal["drop"] | None = "drop" if min_images == "drop" else None
    return image_suite(name, Shape(ways, shots, queries), load, model, recipes or {}, small)


def read(given: Pairs | Callable[[], Pairs], prefix: str) -> Images:
    """All images of a data set, class after class; raises ValueError."""
    pairs: Any = given() if callable(given) and not hasattr(given, "__getitem__") else given
    images, labels = [], []
    for index in range(len(pairs)):
        image, label = pairs[index]
        images.append(as_tensor(image))
        labels.append(int(label))
        if images[-1].shape != images[0].shape:
            first, other = (tuple(images[place].shape) for place in (0, -1))
            raise ValueError(f"image {index} has the shape {other}, the first {first}")
    if not images:
        raise ValueError("a data set is empty")
    called = getattr(pairs, "classes", None) or ()
    rows = sorted(range(len(labels)), key=labels.__getitem__)
    names = [prefix + (str(called[labels[row]]) if labels[row] < len(called) else str(labels[row])) for row in rows]
    whole = all(image.dtype == torch.uint8 for image in images)
    return of_classes(torch.stack([images[row] if whole else images[row].float() for row in rows]), names)


def as_tensor(image: Any) -> Tensor:
    """An image as a tensor; PIL's get their channels first."""
    if isinstance(image, Tensor):
        return image.detach().cpu()
    pixels = np.asarray(image)
    if hasattr(image, "getbands"):
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.array(pixels))
