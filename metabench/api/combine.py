"""Suites made of suites: trained on one and tested on another, or with images that are shifted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from metabench.api.apart import changed_pool
from metabench.api.collecting import collected
from metabench.api.contract import Batch, Suite, Task

Transform = Callable[[Tensor, float, Generator], Tensor]
"""Images (n, channels, height, width) in [0, 1], a severity and a random stream, to images of the same shape."""


def cross(
    source: Suite,
    target: Suite,
    validate: Literal["source", "target"] = "source",
    names: tuple[str, str] = ("source", "target"),
) -> Suite:
    """Train on `source`, test on `target`; `validate` says whose validation tasks choose the state that is tested.

    Model, loss, metrics, pool and recipes are those of the source. Two suites of one name may have classes in common:
    they are told apart by `names`, and refused if two splits share one. Raises ValueError for suites that do not fit,
    `prepare` too, which looks at a task of each.
    """
    for fact in ("ways", "test_ways", "higher_is_better", "step_points", "estimated"):
        one, other = getattr(source, fact), getattr(target, fact)
        if one != other:
            raise ValueError(f"{names[0]} and {names[1]} do not fit: {fact} is {one} here and {other} there")
    judge = (target, names[1]) if validate == "target" else (source, names[0])
    sides = {"train": (source, names[0]), "validation": judge, "test": (target, names[1])}

    def sample(split: str, n: int, generator: Generator) -> Task:
        return sides.get(split, sides["train"])[0].sample(split, n, generator)

    def groups(split: str) -> frozenset[str]:
        suite, name = sides[split]
        return frozenset(f"{name}/{group}" for group in suite.groups(split))

    def prepare() -> None:
        source.prepare()
        target.prepare()
        refuse_unlike_tasks(source, target, names)

    return source._replace(
        sample=sample,
        groups=groups,
        prepare=prepare,
        notes=lambda: tuple(dict.fromkeys((*source.notes(), *target.notes()))),
        digest=lambda: f"{source.digest()}-{target.digest()}",
    )


def refuse_unlike_tasks(source: Suite, target: Suite, names: tuple[str, str]) -> None:
    """Raise ValueError where a task of the target does not fit the model of the source; random streams stay."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        trained, tested = source.sample("train", 1, stream()), target.sample("test", 1, stream())
        told = [
            {f"{part}.{axis}": point(getattr(batch, axis)) for part, batch in task._asdict().items() for axis in "xy"}
            for task in (trained, tested)
        ]
        for fact, ours in told[0].items():
            if ours != told[1][fact]:
                raise ValueError(
                    f"{names[0]} and {names[1]} do not fit: {fact} is {ours} here and {told[1][fact]} there"
                )
        model, query = source.model(), Batch(*(leaf[0] for leaf in tested.query))
        here, there = (next(iter(suite.metrics(model, collected(suite, model, query)))) for suite in (source, target))
    if here != there:
        raise ValueError(f"{names[0]} and {names[1]} do not fit: they are judged by {here} and by {there}")


def stream() -> Generator:
    return Generator().manual_seed(0)


def point(leaf: Tensor) -> str:
    """The shape and the dtype of one point of a task: `(1, 28, 28) float32`."""
    return f"{tuple(leaf.shape[2:])} {str(leaf.dtype).removeprefix('torch.')}"


def shifted(suite: Suite, kind: str, severity: float, on: Literal["support", "query", "both"] = "both") -> Suite:
    """The same tasks, with their images changed in every split: on the support set, the query set or both.

    `kind` is one of SHIFTS. What pre-training draws from is changed with the support set. Raises ValueError;
    `prepare` does so for a suite without images in [0, 1].
    """
    if kind not in SHIFTS or on not in ("support", "query", "both"):
        raise ValueError(
            f"a shift is one of {', '.join(SHIFTS)} on support, query or both, not {kind}={severity}@{on}"
        )
    _, low, high = SHIFTED[kind]
    if not low <= severity <= high:
        raise ValueError(f"the severity of '{kind}' must be from {low:g} to {high:g}, not {severity:g}")
    change, pool = functools.partial(changed, kind, severity), suite.pool

    def sample(split: str, n: int, generator: Generator) -> Task:
        support, query = suite.sample(split, n, generator)
        return Task(
            change(support, generator) if on != "query" else support,
            change(query, generator) if on != "support" else query,
        )

    def prepare() -> None:
        suite.prepare()
        refuse_no_images(suite, kind)

    return suite._replace(
        sample=sample,
        pool=(lambda: changed_pool(pool(), change)) if pool and on != "query" else pool,
        prepare=prepare,
        digest=lambda: f"{suite.digest()} {kind} {severity:g} {on}",
    )


def refuse_no_images(suite: Suite, kind: str) -> None:
    """Raise ValueError unless inputs are images in [0, 1]; random streams stay."""
    with torch.random.fork_rng(devices=[]):
        x = suite.sample("test", 1, stream()).support.x
    if x.dim() != 5 or not x.is_floating_point():
        raise ValueError(f"'{kind}' is for images (channels, height, width), not for inputs {point(x)}")
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"'{kind}' is for images in [0, 1], not from {x.min():.2f} to {x.max():.2f}")


def changed(kind: str, severity: float, batch: Batch, generator: Generator) -> Batch:
    """A batch whose images, the last three axes of `x`, are changed."""
    images = batch.x.reshape(-1, *batch.x.shape[-3:])
    return batch._replace(x=SHIFTS[kind](images, severity, generator).reshape(batch.x.shape))


def rotate(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Counter-clockwise about the middle, bilinear; what comes from outside is 0."""
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    zero = torch.zeros(())
    turn = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero]).view(1, 2, 3)
    grid = F.affine_grid(turn, [1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)


def blur(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    """With a Gaussian of that many pixels, cut off at three deviations; the border is repeated."""
    radius = min(max(1, round(3 * deviation)), *(side - 1 for side in images.shape[-2:]))
    kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * deviation**2 + 1e-12))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    flat = F.pad(images.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(flat, kernel), kernel.transpose(2, 3)).view(images.shape)


def invert(images: Tensor, share: float, generator: Generator) -> Tensor:
    """That share of the way to the negative: 1 makes it all, 0.5 is grey."""
    return images + share * (1 - 2 * images)


def noise(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Normal noise on every value, cut off at 0 and 1."""
    return (images + deviation * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def contrast(images: Tensor, factor: float, generator: Generator) -> Tensor:
    """The distance of each value from its image's mean times the factor, cut off at 0 and 1."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + factor * (images - mean)).clamp(0, 1)


def coarsen(images: Tensor, factor: float, generator: Generator) -> Tensor:
    """Means over an image of fewer pixels by that factor on each side, made as large as before (bilinear)."""
    height, width = images.shape[-2:]
    small = F.interpolate(images, size=(max(1, round(height / factor)), max(1, round(width / factor))), mode="area")
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


SHIFTED: Mapping[str, tuple[Transform, float, float]] = {
    "rotate": (rotate, -180.0, 180.0),
    "blur": (blur, 0.0, 100.0),
    "invert": (invert, 0.0, 1.0),
    "noise": (noise, 0.0, 10.0),
    "contrast": (contrast, 0.0, 10.0),
    "coarsen": (coarsen, 1.0, 100.0),
}
"""With the least and the greatest severity: what it is says records.domains.SHIFTS."""
SHIFTS = {kind: transform for kind, (transform, _, _) in SHIFTED.items()}
