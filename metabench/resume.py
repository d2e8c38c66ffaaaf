"""What meta-training has led to so far, and its way through a checkpoint: resumed equals uninterrupted."""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from metabench.api import Learner
from metabench.files import DamagedError
from metabench.streams import seed_of
from metabench.trials import Point


class Training:
    """The state of meta-training besides the learner's own."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        """1 if higher scores are better, else -1."""
        self.update = 0
        """Updates done."""
        self.curve: list[Point] = []
        self.losses: list[Tensor] = []
        """Of the updates since the last point of the curve."""
        self.best: tuple[float, int, dict[str, Any]] | None = None
        """The best validation score, after how many updates, and the learner's state then."""

    def add(self, point: Point, learner: Learner) -> None:
        """One more validation; the learner's state is kept if it is the best so far."""
        self.curve.append(point)
        self.losses = []
        if self.best is None or self.sign * point.score > self.sign * self.best[0]:
            self.best = (point.score, point.update, copy.deepcopy(learner.state_dict()))

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors, numbers, strings, dicts and lists."""
        losses = torch.stack(self.losses) if self.losses else None
        curve = [msgspec.to_builtins(point) for point in self.curve]
        best = list(self.best) if self.best else None
        return {"update": self.update, "curve": curve, "losses": losses, "best": best}

    def load_state_dict(self, state: dict[str, Any], device: str) -> None:
        """Put a state back."""
        self.update = state["update"]
        self.curve = msgspec.convert(state["curve"], list[Point])
        self.losses = [] if state["losses"] is None else list(state["losses"].to(device).unbind())
        self.best = None if state["best"] is None else tuple(state["best"])


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


def seed_everything(seed: int) -> None:
    """Begin the global random streams anew, for foreign learners that draw from them."""
    torch.manual_seed(seed_of(seed, "global"))
    random.seed(seed_of(seed, "global"))
    np.random.seed(seed_of(seed, "global") % 2**32)


def random_state() -> dict[str, Any]:
    """Where the global random streams of the CPU are."""
    version, words, extra = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), extra],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put them back there."""
    torch.set_rng_state(state["torch"])
    version, words, extra = state["python"]
    random.setstate((version, tuple(words), extra))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
