"""What follows a run: a tracker is told of every trial as plain names and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Where the numbers of trials go: files, a server. A plugin returns factories from `register_trackers`.

    A run is a trial, called by its id. Each is started and finished once; several are open at the same time. What a
    tracker raises is a warning, after which it is told no more; the trials go on.
    """

    def start(self, run: str, parameters: Mapping[str, str | float | None]) -> None:
        """A run begins. `parameters` are flat: `suite`, `seed`, `updates`, `NAME.inner_lr` ..."""

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name at a step: `train/loss` and `validation/score` at a meta-update, `test/METRIC` at an inner
        step."""

    def finish(self, run: str, values: Mapping[str, float], status: str) -> None:
        """A run has ended, `ok` or not; `values` are its last numbers: `score`, `ci95`, `train_seconds` ..."""

    def close(self) -> None:
        """Nothing more comes."""


TrackerFactory = Callable[[Path], Tracker]
"""`(folder) -> Tracker`, with keyword parameters that have defaults; what it writes goes below the folder."""
