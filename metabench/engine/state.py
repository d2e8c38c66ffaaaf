"""One trial while it runs: what it is given, and what is known of it so far."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from metabench.api import Learner
from metabench.engine.norms import UNKNOWN, Norms
from metabench.engine.problem import DTYPES
from metabench.records.checkpoints import CheckpointStore
from metabench.records.provenance import Digests, StrategyChoice
from metabench.records.record import Progress, ValidationPoint
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry

OnProgress = Callable[[Progress], None]

HEARTBEAT_S = 0.2
"""Seconds between two heartbeats, at least."""

CLOCKS = ("prepare", "sample", "train", "validation", "checkpoint", "test")
"""What is timed, each apart: the record's `*_seconds`."""


class Heartbeat:
    """Reports progress: at most five times a second, at every beginning and end, and with every score."""

    def __init__(self, trial_id: str, on_progress: OnProgress) -> None:
        self.trial_id = trial_id
        self.on_progress = on_progress
        self.last = -HEARTBEAT_S
        self.phase = ""

    def __call__(self, phase: str, done: int, total: int, **measured: float) -> None:
        now = time.monotonic()
        if now - self.last > HEARTBEAT_S or done == total or "score" in measured or phase != self.phase:
            self.last, self.phase = now, phase
            self.on_progress(Progress(self.trial_id, phase, done, total, **measured))


class TrialRun(NamedTuple):
    """What a trial is given: it stays the same from the first update to the record."""

    trial: Trial
    execution: Execution
    registry: Registry
    heartbeat: Heartbeat
    keeper: CheckpointStore
    stopping: Callable[[], bool]
    """Whether it is asked to stop."""
    digests: Digests = Digests()
    """Of what it is computed from; of the data once they are prepared."""
    load: float | None = None
    """The machine's when it began; see engine.environment."""

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and data."""
        return DTYPES[self.trial.precision]


class Last(NamedTuple):
    """The end of the training, before the best state takes the place of the last."""

    learner: dict[str, Any]
    random: dict[str, Any]
    """Where the global random streams were."""
    seconds: dict[str, float]
    """By clock."""


class Best(NamedTuple):
    """The state of the learner that was the best on the validation tasks."""

    score: float
    update: int
    learner: dict[str, Any]


@dataclass
class TrialState:
    """All that is known of a trial so far, so that a failure loses nothing; to_dict makes it a checkpoint."""

    update: int = 0
    """Updates done."""
    validated: int = -1
    """How many were done at the last validation."""
    norms: Norms = UNKNOWN
    """Of the last update before a validation."""
    curve: list[ValidationPoint] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    """Of the updates since the last point of the curve."""
    best: Best | None = None
    last: Last | None = None
    """Kept where it is asked for."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CLOCKS, 0.0))
    """By clock."""
    memory_mb: float = 0.0
    """The peak before the last checkpoint that it went on from."""
    choice: StrategyChoice | None = None
    depends: bool = False
    """Whether a prediction was seen to depend on the other query points; then it holds for the whole trial."""
    not_finite: tuple[str, ...] = ()
    """Of each validation whose score was no finite number: at which update, and how far it was."""
    resumed: tuple[int, ...] = ()
    """The updates at which it went on from a checkpoint."""
    strategy: str = ""
    """How the learner batches its tasks; known once it is built."""
    layers: str = ""
    """What runs its convolutions; see Strategy."""
    higher_is_better: bool = True
    distinct_tasks: int = 0
    environment_steps: int = 0
    selection: str = ""
    """See Record; known once the training has ended."""
    selected_update: int = 0

    def is_better(self, score: float, than: float) -> bool:
        """Whether one score of the suite beats another."""
        return score > than if self.higher_is_better else score < than

    def add_point(self, point: ValidationPoint, learner: Learner) -> None:
        """One more validation; the learner's state is kept if it is the best so far."""
        self.curve.append(point)
        self.losses = []
        if self.best is None or self.is_better(point.score, than=self.best.score):
            self.best = Best(point.score, point.update, copy.deepcopy(learner.state_dict()))

    def to_dict(self) -> dict[str, Any]:
        """All of it as tensors, numbers, strings, dicts and lists."""
        plain = {name: value for name, value in vars(self).items() if name not in ("losses", "best", "last")}
        return {
            **msgspec.to_builtins(plain),
            "losses": torch.stack(self.losses) if self.losses else None,
            "best": list(self.best) if self.best else None,
            "last": list(self.last) if self.last else None,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any], device: str) -> TrialState:
        """What to_dict made, with its tensors on the CPU."""
        losses, best, last = state["losses"], state["best"], state.get("last")
        return cls(
            **state
            | {
                "curve": msgspec.convert(state["curve"], list[ValidationPoint]),
                "choice": msgspec.convert(state["choice"], StrategyChoice | None),
                "resumed": tuple(state["resumed"]),
                "norms": Norms(*state.get("norms", ())),
                "not_finite": tuple(state.get("not_finite", ())),
                "losses": [] if losses is None else list(losses.to(device).unbind()),
                "best": None if best is None else Best(*best),
                "last": None if last is None else Last(*last),
            }
        )
