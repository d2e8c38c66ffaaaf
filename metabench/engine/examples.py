"""A few test tasks to look at: their points, and what a learner predicts for them after some inner steps."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Sequence

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.api import Acting, Batch, Learner, Predict, Task
from metabench.api.trees import map_tree
from metabench.engine import problem
from metabench.records.record import Example, Examples

TASKS = 4
AFTER = (0, 1, 5, 10)
"""Inner steps after which predictions are kept, as far as the trial goes; and those after its last."""
POINTS = 100
"""Query points kept of a task with one number a point; its support set is as large at most."""
SUPPORT_IMAGES, QUERY_IMAGES = 25, 10
SIDE = 32
"""Pixels of an image's longer side; a larger one is averaged down."""
PATHS, PLACES = 4, 50
"""Trajectories kept of a task, and points of each at most."""
PATHS_AFTER = (0, 1, 2, 3)
"""As AFTER, for trajectories."""
LIMIT = 200_000
"""Bytes of JSON: beyond, nothing is kept."""


def examples(
    learner: Learner, tasks: Task, steps: int, protocol: str, *, inductive: bool, acting: Acting | None = None
) -> Examples | None:
    """The first of `tasks` with the predictions of `learner`; None where they are nothing that can be drawn.

    Drawn are regression of one number on one number, classification of images, and, where `acting` says how a policy
    acts, trajectories in the plane. `inductive` predicts each query
    point with the support set alone. The learner sees what it sees when it is scored: no query targets. An
    exception means no examples: a trial does not fail for its pictures.
    """
    try:
        with torch.no_grad():
            few = map_tree(lambda leaf: leaf[:TASKS], tasks)
            found = (
                trajectories(learner, few, steps, protocol, acting)
                if acting
                else collect(learner, few, steps, protocol, inductive)
            )
    except (Exception, SystemExit):
        return None
    return found if found and len(msgspec.json.encode(found)) <= LIMIT else None


def collect(learner: Learner, tasks: Task, steps: int, protocol: str, inductive: bool) -> Examples | None:
    """See examples."""
    images = of_images(tasks)
    if not images and not is_scalar_regression(tasks):
        return None
    after = sorted({each for each in AFTER if each < steps} | {steps})
    support, query = kept(tasks, images)
    predicted: list[list[list[float]]] = [[] for _ in range(len(tasks.query.x))]
    for step, adapted in enumerate(learner.adapt(tasks.support, steps)):
        if step in after:
            for index, values in enumerate(predicted):
                outputs = output(adapted, index, tasks, inductive)
                answer = outputs.argmax(-1) if images else outputs.flatten()
                values.append(numbers(answer[: query.y.shape[1]]))
    shape: list[int] = []
    pack: Callable[[Tensor], list[float] | str] = numbers
    if images:
        shape, pack = packing(support.x, query.x)
    if not all(math.isfinite(value) for task in predicted for values in task for value in values):
        return None
    return Examples(
        protocol=protocol,
        steps=after,
        shape=shape,
        tasks=[
            Example(
                support_x=pack(support.x[index]),
                support_y=numbers(support.y[index]),
                query_x=pack(query.x[index]),
                query_y=numbers(query.y[index]),
                predicted=values,
            )
            for index, values in enumerate(predicted)
        ],
    )


def trajectories(learner: Learner, tasks: Task, steps: int, protocol: str, acting: Acting) -> Examples | None:
    """See examples: the first trajectories of the query set, where a policy sees its place in the plane."""
    after = sorted({each for each in PATHS_AFTER if each < steps} | {steps})
    predicted: list[list[list[float]]] = [[] for _ in tasks.query.x]
    for step, adapted in enumerate(learner.adapt(tasks.support, steps)):
        for predict, values, x, y in zip(adapted, predicted, *tasks.query, strict=True):
            if step in after:
                seen = acting.collect(predict, Batch(x[:PATHS], y[:PATHS])).x
                if seen.dim() != 3 or seen.shape[-1] != 2 or not bool(seen.isfinite().all()):
                    return None
                values.append(numbers(seen[:, :: math.ceil(seen.shape[1] / PLACES)]))
    goals = [numbers(acting.told(Batch(x, y))) if acting.told else [] for x, y in zip(*tasks.support, strict=True)]
    return Examples(
        protocol=protocol,
        steps=after,
        paths=min(PATHS, tasks.query.x.shape[1]),
        tasks=[
            Example(support_x=[], support_y=goal, query_x=[], query_y=[], predicted=values)
            for goal, values in zip(goals, predicted, strict=True)
        ],
    )


def of_images(tasks: Task) -> bool:
    """Whether points are images of one or three channels and targets are classes."""
    x, y = tasks.query
    return x.dim() == 5 and x.shape[2] in (1, 3) and y.dim() == 2 and not y.is_floating_point()


def is_scalar_regression(tasks: Task) -> bool:
    """Whether points and targets are one number each."""
    return all(
        leaf.is_floating_point() and leaf.dim() in (2, 3) and math.prod(leaf.shape[2:]) == 1 for leaf in tasks.query
    )


def kept(tasks: Task, images: bool) -> tuple[Batch, Batch]:
    """The first points of each task: as many as a figure shows."""
    most = (SUPPORT_IMAGES, QUERY_IMAGES) if images else (POINTS, POINTS)
    support, query = (Batch(*(leaf[:, :count] for leaf in batch)) for batch, count in zip(tasks, most, strict=True))
    return support, query


def output(adapted: Sequence[Predict], index: int, tasks: Task, inductive: bool) -> Tensor:
    """What is predicted for all query points of one task, as when it is scored."""
    predict = adapted[index]
    if inductive:
        predict = problem.inductive(predict, tasks.support.x[index])
    return predict(tasks.query.x[index])


def numbers(values: Tensor) -> list[float]:
    """With four digits, which is more than a figure shows."""
    return [float(f"{value:.4g}") for value in values.flatten().tolist()]


def packing(*images: Tensor) -> tuple[list[int], Callable[[Tensor], str]]:
    """The shape of one image as it is kept, and the function that packs the images (points, c, h, w) of a task."""
    low = min(float(each.min()) for each in images)
    span = max(float(each.max()) for each in images) - low or 1.0
    channels, height, width = images[0].shape[2:]
    factor = math.ceil(max(height, width) / SIDE)

    def pack(points: Tensor) -> str:
        grey = (255 * (F.avg_pool2d(points.float(), factor) - low) / span).round().to(torch.uint8)
        return base64.b64encode(zlib.compress(grey.cpu().numpy().tobytes(), 9)).decode()

    return [channels, height // factor, width // factor], pack
