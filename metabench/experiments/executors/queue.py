"""What every executor shares: which trial runs next, and what happens to one whose process died."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from metabench.records.locks import Claim
from metabench.records.record import Outcome, Record
from metabench.records.status import Status
from metabench.records.trials import Trial

RETRY_LOCKED_S = 1.0
"""Seconds before a trial that another driver has is tried again."""


class TrialLocks(Protocol):
    """Per-trial locks: see metabench.records.locks."""

    def claim(self, trial: Trial) -> Claim:
        """Acquire a trial, if it is to be had."""
        ...

    def release(self, trial: Trial) -> None:
        """Let other drivers have it."""
        ...


class Limits(NamedTuple):
    """What one trial may use before it is ended from outside."""

    seconds: float | None = None
    """Of one attempt."""
    memory: int | None = None
    """Bytes of resident memory, with its child processes."""
    max_deaths: int = 3
    """Deaths of its process in a row, without a new checkpoint between, after which it is given up as `lost`."""


class Queue:
    """The trials that are left. Each is handed out under its lock, and again if its process dies."""

    def __init__(
        self, trials: Iterable[Trial], locks: TrialLocks, limits: Limits, after: Mapping[str, str] | None = None
    ) -> None:
        self.waiting = deque(trials)
        self.after = dict(after or {})
        """By trial id that of a trial of these which must have ended before, since its training is used again."""
        self.locks = locks
        self.limits = limits
        self.reclaimed: deque[Trial] = deque()
        """Locked by us already, to be run again."""
        self.deaths: Counter[str] = Counter()
        self.reached: dict[str, int] = {}
        self.next_try = 0.0

    def __bool__(self) -> bool:
        """Whether trials are left to hand out, now or later."""
        return bool(self.waiting or self.reclaimed)

    def take(self) -> Trial | None:
        """The next trial to run; None while other drivers have all that are left."""
        if self.reclaimed:
            return self.reclaimed.popleft()
        if time.monotonic() < self.next_try:
            return None
        busy = False
        for _ in range(len(self.waiting)):
            trial = self.waiting.popleft()
            if trial.id in self.after:
                self.waiting.append(trial)
                continue
            verdict = self.locks.claim(trial)
            if verdict is Claim.ACQUIRED:
                return trial
            if verdict is Claim.BUSY:
                self.waiting.append(trial)
                busy = True
            elif self.on_end(trial):  # it needs no run: another driver finished it, and others may begin
                return self.take()
        if busy:
            self.next_try = time.monotonic() + RETRY_LOCKED_S
        return None

    def on_end(self, trial: Trial) -> bool:
        """A trial has a record: those that wait for it may begin. Whether any did."""
        before = len(self.after)
        self.after = {name: first for name, first in self.after.items() if first != trial.id}
        freed = len(self.after) < before
        self.next_try = 0.0 if freed else self.next_try
        return freed

    def on_checkpoint(self, trial: Trial, update: int) -> None:
        """Note a checkpoint: a new one resets the death counter."""
        if update > self.reached.get(trial.id, 0):
            self.reached[trial.id] = update
            self.deaths[trial.id] = 0

    def on_worker_death(self, trial: Trial, how: str) -> Outcome | None:
        """Queue the trial again after its process died; an outcome `lost` if that was once too often."""
        self.deaths[trial.id] += 1
        if self.deaths[trial.id] < self.limits.max_deaths:
            self.reclaimed.append(trial)
            return None
        again = f", {self.deaths[trial.id]} times at the same place"
        return ended(trial, "lost", f"its process {how}{again}")


def ended(trial: Trial, status: Status, reason: str) -> Outcome:
    """The record of a trial that was ended from outside."""
    return Outcome(Record(trial=trial, status=status, reason=reason), {})
