"""Checkpoints of a running trial: resumed equals uninterrupted."""

from __future__ import annotations

import io
import time
from typing import Any, NamedTuple

import torch

from metabench.api import Learner
from metabench.engine.measure import peak_memory_mb, timed
from metabench.engine.seeds import random_state
from metabench.engine.state import TrialRun, TrialState
from metabench.errors import one_line
from metabench.records.checkpoints import Header, opened, sealed
from metabench.records.files import DamagedError
from metabench.records.provenance import version_of


class Saved(NamedTuple):
    """What a checkpoint holds."""

    state: TrialState
    learner: dict[str, Any]
    random: dict[str, Any]
    """Where the global random streams were."""


class Checkpoints:
    """The checkpoints of one trial: whether there is one, when the next is due, and what is in it."""

    def __init__(self, run: TrialRun) -> None:
        self.trial, self.execution, self.keeper = run.trial, run.execution, run.keeper
        versions = {"metabench": version_of("metabench"), "torch": str(torch.__version__)}
        self.code = versions | {name: getattr(run.digests, name) for name in ("algorithm", "suite")}
        """What must be the same for the trial to go on from a checkpoint; the data too."""
        self.data = [run.digests.data, run.digests.tests]
        self.made = (time.monotonic(), 0)
        self.kept = (0, "")
        """How far the last one is, and what was selected by then."""
        self.notice = ""
        """What went wrong, for the record."""
        self.torn = False
        """Whether an update has begun and not ended: the learner's state is then of no use."""

    def load(self) -> Saved | None:
        """The last checkpoint, if it is this trial's; one that cannot be used is set aside."""
        content = self.keeper.load()
        if content is None:
            return None
        found = self.read(content)
        if isinstance(found, str):
            self.refuse(found)
            return None
        header, saved = found
        self.made, self.kept = (time.monotonic(), header.update), (header.update, saved.state.selection)
        saved.state.resumed += (saved.state.update,)
        return saved

    def read(self, content: bytes, shorter: bool = False) -> tuple[Header, Saved] | str:
        """What a checkpoint of this trial, or of a shorter one of its lineage, holds; or why it cannot be used."""
        try:
            header, state = opened(content)
            if header.lineage != self.trial.lineage if shorter else header.trial != self.trial.id:
                raise DamagedError(f"it is one of trial '{header.trial}'")
            if header.code != self.code:
                raise DamagedError("the code has changed since it was written")
            if header.data != self.data:
                raise DamagedError("the data have changed since it was written")
            found = from_bytes(state)
            resumed = TrialState.from_dict(found["state"], self.execution.device)
            return header, Saved(resumed, found["learner"], found["random"])
        except DamagedError as error:
            return str(error)
        except Exception as error:  # a readable header, but a state that is of no use
            return one_line(error)

    def note(self, said: str) -> None:
        """Add to what the record will say."""
        self.notice = "; ".join(filter(None, (self.notice, said)))

    def refuse(self, reason: str) -> None:
        """Set the last checkpoint aside: the trial starts over."""
        self.notice = f"started over, its checkpoint was set aside: {reason}"
        try:
            self.keeper.refuse(reason)
        except OSError as error:
            self.notice += f" ({one_line(error)})"
        self.made, self.kept = (time.monotonic(), 0), (0, "")

    def due(self, update: int) -> bool:
        """Whether the next is, after so many updates."""
        then, before = self.made
        every = self.execution.checkpoint_updates
        if every is not None and update - before >= every:
            return True
        seconds = self.execution.checkpoint_seconds
        return seconds is not None and time.monotonic() - then >= seconds

    def keep_training(self, state: TrialState, learner: Learner) -> None:
        """Make one before the test, whose failure must not cost what was trained since the last."""
        if state.update > self.kept[0]:
            self.save(state, learner)

    def rescue(self, state: TrialState, learner: Learner) -> None:
        """Keep what a trial that failed has reached, if that is more than was kept before, for --retry-failed."""
        if self.torn or self.kept == (state.update, state.selection):
            return
        try:
            self.save(state, learner)
        except Exception as error:  # the trial has failed already, and that is what its record says
            self.notice = f"no checkpoint could be made: {one_line(error)}"

    def save(self, state: TrialState, learner: Learner) -> None:
        """Make one, with the global random streams. A disk that cannot take it costs time later, not the trial."""
        with timed(state.seconds, "checkpoint", self.execution.device):
            memory = max(state.memory_mb, peak_memory_mb(self.execution.device))
            content = to_bytes(
                {
                    "state": state.to_dict() | {"memory_mb": memory},
                    "learner": learner.state_dict(),
                    "random": random_state(),
                }
            )
            try:
                self.keeper.save(sealed(self.header(state), content), state.update)
            except OSError as error:
                self.notice = f"no checkpoint could be written: {error.strerror or error}"
        self.made = (time.monotonic(), state.update)
        self.kept = (state.update, state.selection)

    def header(self, state: TrialState) -> Header:
        """Of a checkpoint of this state."""
        return Header(
            trial=self.trial.id,
            code=self.code,
            data=self.data,
            update=state.update,
            updates=self.trial.budget.updates,
            validations=self.trial.budget.validations,
            lineage=self.trial.lineage,
            seconds=round(sum(state.seconds.values()), 3),
        )

    def training(self, state: TrialState) -> bytes | None:
        """The end of the training as a checkpoint that a longer one goes on from, where it is to be kept."""
        if not state.last:
            return None
        before = state.to_dict() | {
            "last": None,
            "seconds": state.last.seconds,
            "selection": "",
            "selected_update": 0,
        }
        content = to_bytes({"state": before, "learner": state.last.learner, "random": state.last.random})
        return sealed(self.header(state), content)


def to_bytes(state: dict[str, Any]) -> bytes:
    """A state as torch saves it."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """A state, its tensors on the CPU; nothing in it can run code. Raises DamagedError."""
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError(f"torch cannot read it ({type(error).__name__})") from None
    return state
