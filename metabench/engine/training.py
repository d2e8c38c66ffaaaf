"""What meta-training has led to so far, and its way through a checkpoint: resumed equals uninterrupted."""

from __future__ import annotations

import copy
import io
import time
from typing import Any

import msgspec
import torch
from torch import Tensor

from metabench.api import Learner
from metabench.engine.seeds import random_state
from metabench.errors import one_line
from metabench.records.checkpoints import CheckpointStore, Header, opened, sealed
from metabench.records.files import DamagedError
from metabench.records.record import ValidationPoint
from metabench.records.trials import Execution, Trial


class PrunedError(Exception):
    """A trial that is not worth its time: see Trial.bars."""


class Training:
    """The state of meta-training besides the learner's own."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        """1 if higher scores are better, else -1."""
        self.update = 0
        """Updates done."""
        self.curve: list[ValidationPoint] = []
        self.losses: list[Tensor] = []
        """Of the updates since the last point of the curve."""
        self.best: tuple[float, int, dict[str, Any]] | None = None
        """The best validation score, after how many updates, and the learner's state then."""

    def add(self, point: ValidationPoint, learner: Learner) -> None:
        """One more validation; the learner's state is kept if it is the best so far."""
        self.curve.append(point)
        self.losses = []
        if self.best is None or self.sign * point.score > self.sign * self.best[0]:
            self.best = (point.score, point.update, copy.deepcopy(learner.state_dict()))

    def prune(self, bars: tuple[tuple[int, float], ...]) -> None:
        """Raise PrunedError if there is a bar at this update, and the best score so far is worse."""
        for update, bar in bars:
            if update == self.update and self.best and self.sign * self.best[0] < self.sign * bar:
                raise PrunedError(
                    f"its best validation score was {self.best[0]:.4g} at update {update}, the median {bar:.4g}"
                )

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors, numbers, strings, dicts and lists."""
        losses = torch.stack(self.losses) if self.losses else None
        curve = [msgspec.to_builtins(point) for point in self.curve]
        best = list(self.best) if self.best else None
        return {"update": self.update, "curve": curve, "losses": losses, "best": best}

    def load_state_dict(self, state: dict[str, Any], device: str) -> None:
        """Put a state back."""
        self.update = state["update"]
        self.curve = msgspec.convert(state["curve"], list[ValidationPoint])
        self.losses = [] if state["losses"] is None else list(state["losses"].to(device).unbind())
        self.best = None if state["best"] is None else tuple(state["best"])


class Checkpoints:
    """The checkpoints of one trial: whether there is one, when the next is due, and what is in it."""

    def __init__(self, trial: Trial, execution: Execution, keeper: CheckpointStore, code: dict[str, Any]) -> None:
        self.trial = trial
        self.seconds, self.updates = execution.checkpoint_seconds, execution.checkpoint_updates
        self.keeper = keeper
        self.code = code
        self.made = (time.monotonic(), 0)
        self.notice = ""
        """What went wrong, for the record."""

    def load(self) -> dict[str, Any] | None:
        """The state in the last checkpoint, if it is this trial's; one that cannot be used is set aside."""
        content = self.keeper.load()
        if content is None:
            return None
        try:
            header, state = opened(content)
            if header.trial != self.trial.id:
                raise DamagedError(f"it is one of trial '{header.trial}'")
            if header.code != self.code:
                raise DamagedError("the code has changed since it was written")
            self.made = (time.monotonic(), header.update)
            return from_bytes(state)
        except DamagedError as error:
            self.refuse(str(error))
            return None

    def refuse(self, reason: str) -> None:
        """Set the last checkpoint aside: the trial begins anew."""
        self.notice = f"began anew, its checkpoint was set aside: {reason}"
        try:
            self.keeper.refuse(reason)
        except OSError as error:
            self.notice += f" ({one_line(error)})"
        self.made = (time.monotonic(), 0)

    def due(self, update: int) -> bool:
        """Whether the next is, after so many updates."""
        then, before = self.made
        if self.updates is not None and update - before >= self.updates:
            return True
        return self.seconds is not None and time.monotonic() - then >= self.seconds

    def save(self, update: int, seconds: float, state: dict[str, Any]) -> None:
        """Make one, with the global random streams. A disk that cannot take it costs time later, not the trial."""
        header = Header(
            trial=self.trial.id,
            code=self.code,
            update=update,
            updates=self.trial.budget.updates,
            seconds=round(seconds, 3),
        )
        try:
            self.keeper.save(sealed(header, to_bytes(state | {"random": random_state()})), update)
        except OSError as error:
            self.notice = f"no checkpoint could be written: {error.strerror or error}"
        self.made = (time.monotonic(), update)


def to_bytes(state: dict[str, Any]) -> bytes:
    """A state as torch saves it."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """A state, its tensors on the CPU; nothing in it can run code. Raises DamagedError."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError(f"torch cannot read it ({type(error).__name__})") from None
