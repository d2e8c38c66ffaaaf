"""From heartbeats and records to what trackers are told: the same numbers while it runs as afterwards."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from metabench.errors import one_line
from metabench.records.columns import of_trials, trial_values
from metabench.records.frames import parameters_of
from metabench.records.record import Progress, Record, ValidationPoint
from metabench.records.trials import Trial

if TYPE_CHECKING:
    from metabench.api import Tracker


class Follower:
    """Tells trackers of each trial: when it begins, of its curve, and of its end."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self.trackers = dict(trackers)
        self.started: set[str] = set()
        self.lock = Lock()
        """Heartbeats may come from another thread than records."""

    def on_progress(self, trial: Trial, progress: Progress) -> None:
        """A heartbeat: the loss, or the score on the validation tasks."""
        known = {"train/loss": progress.loss, "validation/score": progress.score}
        values = {name: value for name, value in known.items() if value is not None and math.isfinite(value)}
        if values and progress.phase == "train":
            with self.lock:
                self.start(trial)
                self.tell(lambda tracker: tracker.log(trial.id, progress.done, values))

    def on_record(self, record: Record) -> None:
        """A trial has ended: what is known at each validation point and after each inner step, and of the end."""
        name = record.trial.id
        with self.lock:
            self.start(record.trial)
            for step, values in (*curve(record), *adaptation(record)):
                self.tell(partial(log, run=name, step=step, values=values))
            self.tell(lambda tracker: tracker.finish(name, final(record), record.status))

    def start(self, trial: Trial) -> None:
        """Tell of a trial, once."""
        if trial.id not in self.started:
            self.started.add(trial.id)
            self.tell(lambda tracker: tracker.start(trial.id, described(trial)))

    def close(self) -> None:
        """Nothing more comes."""
        self.tell(lambda tracker: tracker.close())

    def tell(self, what: Callable[[Tracker], Any]) -> None:
        """Call every tracker; one that fails is left, with a warning."""
        for name, tracker in list(self.trackers.items()):
            try:
                what(tracker)
            except Exception as error:  # a stranger's code, a full disk, a server that is gone
                del self.trackers[name]
                warnings.warn(f"Tracking with {name} ended: {one_line(error)}.", stacklevel=4)


def log(tracker: Tracker, run: str, step: int, values: Mapping[str, float]) -> None:
    """Tell one tracker of numbers."""
    tracker.log(run, step, values)


@contextmanager
def following(trackers: Mapping[str, Tracker]) -> Iterator[Follower]:
    """A follower, closed at the end whatever happens."""
    follower = Follower(trackers)
    try:
        yield follower
    finally:
        follower.close()


def described(trial: Trial) -> dict[str, str | float | None]:
    """A trial's names and settings, flat."""
    values = {"algorithm": trial.algorithm, "suite": trial.suite, "seed": trial.seed, **trial.settings("trial")}
    return {name: plain(value) for name, value in {**values, **parameters_of(trial)}.items()}


def plain(value: Any) -> str | float | None:
    """A number or a text; anything else as text."""
    return value if value is None or isinstance(value, str | int | float) else str(value)


def curve(record: Record) -> Iterable[tuple[int, dict[str, float]]]:
    """By meta-update: all that a validation point has."""
    for point in record.curve:
        found = {name: getattr(point, name) for name in ValidationPoint.__struct_fields__ if name != "update"}
        yield point.update, numbers({f"validation/{name}": value for name, value in found.items()})


def adaptation(record: Record) -> Iterable[tuple[int, dict[str, float]]]:
    """By inner step: the mean of each metric over the test tasks."""
    for protocol, test in record.tests.items():
        for metric, values in test.adaptation.items():
            for step, value in enumerate(values):
                yield step, numbers({f"test/{metric}{suffix(record, protocol)}": value})


def final(record: Record) -> dict[str, float]:
    """The numbers of the end: scores, times, memory; they go by the names that `metabench.load` has."""
    found: dict[str, Any] = {}
    for protocol in record.tests or (record.trial.protocol,):
        values = trial_values(record, protocol, of_trials())
        found |= {f"{name}{suffix(record, protocol)}": value for name, value in values.items()}
    settings = described(record.trial)
    return {name: value for name, value in numbers(found).items() if name not in settings}


def suffix(record: Record, protocol: str) -> str:
    """What tells two protocols apart."""
    return f"/{protocol}" if len(record.tests) > 1 else ""


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those that are finite numbers, and no truths."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
