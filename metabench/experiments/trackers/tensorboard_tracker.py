"""Event files for TensorBoard, a folder for each trial, with its settings as hyperparameters; without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SUFFIX = ".metabench"
"""Of the files that are ours: those of an export before are replaced."""


class TensorBoard:
    """See metabench.api.Tracker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, Any] = {}

    def start(self, run: str, parameters: Mapping[str, str | float | None]) -> None:
        """A folder for the trial."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = self.folder / run.replace(":", "--")
        for earlier in place.glob(f"*{SUFFIX}"):
            earlier.unlink()
        self.writers[run] = EventFileWriter(str(place), filename_suffix=SUFFIX)
        known = {name: value for name, value in parameters.items() if value is not None}
        self.write(run, 0, hparams_pb(known, trial_id=run))

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.write(run, step, Summary(value=found))

    def finish(self, run: str, values: Mapping[str, float], status: str) -> None:
        """A scalar for each, and the end of the file."""
        self.log(run, 0, {f"end/{name}": value for name, value in values.items()})
        self.writers.pop(run).close()

    def close(self) -> None:
        """Of trials that did not end, what there is."""
        for writer in self.writers.values():
            writer.close()

    def write(self, run: str, step: int, summary: Any) -> None:
        """One event."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.writers[run].add_event(Event(wall_time=time.time(), step=step, summary=summary))


def open_tracker(folder: Path) -> TensorBoard:
    """`tensorboard --logdir FOLDER` shows it."""
    return TensorBoard(folder)
