"""Trajectories of example tasks, as arrays: what the figure of policies draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metabench.records.record import Examples
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.intervals import Array


class TaskPaths(NamedTuple):
    """One test task."""

    goal: Array
    """(2,), or empty."""
    paths: Array
    """After each of the inner steps shown: [steps, trajectories, points, 2]."""
    scores: Array
    """Of this task, after each of these steps: [steps]."""


class AlgorithmPaths(NamedTuple):
    """One algorithm's."""

    algorithm: str
    steps: tuple[int, ...]
    tasks: tuple[TaskPaths, ...]


def paths_of(groups: Sequence[Configuration]) -> list[AlgorithmPaths]:
    """Those of the algorithms that have some, in the order of the groups: once for each."""
    members: dict[str, AlgorithmPaths] = {}
    for group in groups:
        kept = group.examples
        if kept and kept.paths > 0 and group.steps and group.algorithm not in members:
            try:
                members[group.algorithm] = AlgorithmPaths(group.algorithm, tuple(kept.steps), tasks_of(group, kept))
            except (ValueError, IndexError):
                continue  # they are not of the form that is written; the scores still count
    return [member for member in members.values() if member.tasks and member.steps]


def tasks_of(group: Configuration, kept: Examples) -> tuple[TaskPaths, ...]:
    """Raises ValueError or IndexError for what does not fit together."""
    scores = group.steps[min(group.steps)][kept.steps]
    found = []
    for index, task in enumerate(kept.tasks):
        goal = np.asarray(task.support_y, dtype=float)
        if goal.shape not in ((0,), (2,)):
            raise ValueError("a goal that is no place in the plane")
        paths = np.asarray(task.predicted, dtype=float).reshape(len(kept.steps), kept.paths, -1, 2)
        found.append(TaskPaths(goal, paths, scores[:, index]))
    return tuple(found)
