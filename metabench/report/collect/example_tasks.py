"""The example tasks of a suite, as arrays: what example figures draw."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metabench.records.record import Example, Examples
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.intervals import Array


class AlgorithmExamples(NamedTuple):
    """One algorithm's example tasks."""

    algorithm: str
    steps: tuple[int, ...]
    tasks: tuple[ExampleTask, ...]


class ExampleTask(NamedTuple):
    """A test task: points (points,) or images (points, h, w, channels); targets, and predictions [steps, points]."""

    support_x: Array
    support_y: Array
    query_x: Array
    query_y: Array
    predicted: Array
    scores: Array
    """Of this task, after each of the inner steps shown: [steps]."""


def of_suite(groups: Sequence[Configuration], *, images: bool) -> list[AlgorithmExamples]:
    """Those of the algorithms that have examples of this sort, in the order of the groups: once for each."""
    members: dict[str, AlgorithmExamples] = {}
    for group in groups:
        kept = group.examples
        if kept and group.steps and bool(kept.shape) == images and not kept.paths and group.algorithm not in members:
            try:
                members[group.algorithm] = shown(group, kept)
            except (ValueError, IndexError, binascii.Error, zlib.error):
                continue  # they are not of the form that is written; the scores still count
    return list(members.values())


def shown(group: Configuration, kept: Examples) -> AlgorithmExamples:
    """Raises ValueError or IndexError for what does not fit together."""
    scores = group.steps[min(group.steps)][kept.steps]
    tasks = tuple(examined(task, kept, scores[:, index]) for index, task in enumerate(kept.tasks))
    if not tasks or not kept.steps:
        raise ValueError("no task, or no step")
    return AlgorithmExamples(group.algorithm, tuple(kept.steps), tasks)


def examined(task: Example, kept: Examples, scores: Array) -> ExampleTask:
    """One task, its arrays checked against each other."""
    given = (task.support_y, task.query_y, task.predicted)
    support_y, query_y, predicted = (np.asarray(values, dtype=float) for values in given)
    if predicted.shape != (len(kept.steps), len(query_y)):
        raise ValueError("not a prediction for each step and point")
    return ExampleTask(
        points(task.support_x, len(support_y), kept.shape), support_y,
        points(task.query_x, len(query_y), kept.shape), query_y,
        predicted, scores,
    )  # fmt: skip


def points(values: list[float] | str, count: int, shape: Sequence[int]) -> Array:
    """Numbers, or packed images as (points, h, w, channels) between 0 and 1."""
    if isinstance(values, str):
        channels, height, width = shape
        size = count * channels * height * width
        content = zlib.decompressobj().decompress(base64.b64decode(values), size + 1)
        pixels = np.frombuffer(content, np.uint8).reshape(count, channels, height, width)
        return pixels.transpose(0, 2, 3, 1) / 255
    numbers = np.asarray(values, dtype=float)
    if numbers.shape != (count,):
        raise ValueError("not a number for each target")
    return numbers
