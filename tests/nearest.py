"""How far nearest neighbour on raw pixels gets on few-shot tasks: what a suite must leave room above."""

from __future__ import annotations

import torch

from metabench.api import Task


def nearest_neighbour(tasks: Task) -> float:
    """The share of query points, over all tasks, whose nearest support point has their label."""
    distance = torch.cdist(tasks.query.x.flatten(2), tasks.support.x.flatten(2))
    answers = tasks.support.y.gather(1, distance.argmin(-1))
    return (answers == tasks.query.y).float().mean().item()
