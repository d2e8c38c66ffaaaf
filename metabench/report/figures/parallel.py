"""The figures of many suites, drawn by several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from metabench.report.collect.configurations import Configuration
from metabench.report.figures.catalogue import Looks, Picture, pictures

FEW = 2
"""Suites up to which a process would take longer to start than to draw."""


class Job(NamedTuple):
    """A suite's: what `pictures` takes."""

    suite: str
    slug: str
    groups: Sequence[Configuration]
    looks: Looks


def draw(jobs: Sequence[Job]) -> list[tuple[Picture, ...]]:
    """The figures of each, the same whoever draws them."""
    workers = min(len(jobs), os.cpu_count() or 1)
    if workers > 1 and len(jobs) > FEW:
        try:
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                return list(pool.map(one, jobs))
        except BrokenProcessPool:  # a script without `if __name__ == "__main__":` cannot have processes
            pass
    return [one(job) for job in jobs]


def one(job: Job) -> tuple[Picture, ...]:
    return pictures(*job)
