"""What every executor shares: which trial comes next, and what to do with one whose process died."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from metabench.records.locks import Claim
from metabench.records.record import Outcome, Record
from metabench.records.status import Status
from metabench.records.trials import Trial

LOOK_AGAIN = 1.0
"""Seconds between looks at trials that another driver has."""


class TrialLocks(Protocol):
    """Who may run a trial: see metabench.records.locks."""

    def claim(self, trial: Trial) -> Claim:
        """Acquire a trial, if it is to be had."""
        ...

    def release(self, trial: Trial) -> None:
        """Give it back."""
        ...


class Limits(NamedTuple):
    """What one trial may take before it is ended from outside."""

    seconds: float | None = None
    """Of one attempt."""
    memory: int | None = None
    """Bytes of resident memory, with its child processes."""
    deaths: int = 3
    """Attempts that may end without a word or a new checkpoint."""


class Queue:
    """The trials that are left. A trial is handed out to one driver, and comes back if its process dies."""

    def __init__(self, trials: Iterable[Trial], claims: TrialLocks, limits: Limits) -> None:
        self.waiting = deque(trials)
        self.claims = claims
        self.limits = limits
        self.mine: deque[Trial] = deque()
        """Claimed already: to be run again."""
        self.deaths: Counter[str] = Counter()
        self.reached: dict[str, int] = {}
        self.elsewhere = 0
        """Trials that another driver finished meanwhile."""
        self.look_at = 0.0

    def __bool__(self) -> bool:
        """Whether anything is left to hand out, now or later."""
        return bool(self.waiting or self.mine)

    def take(self) -> Trial | None:
        """The next trial to run; None if others have all that is left."""
        if self.mine:
            return self.mine.popleft()
        if time.monotonic() < self.look_at:
            return None
        for _ in range(len(self.waiting)):
            trial = self.waiting.popleft()
            verdict = self.claims.claim(trial)
            if verdict is Claim.ACQUIRED:
                return trial
            if verdict is Claim.BUSY:
                self.waiting.append(trial)
            else:
                self.elsewhere += 1
        self.look_at = time.monotonic() + LOOK_AGAIN
        return None

    def kept(self, trial: Trial, update: int) -> None:
        """A checkpoint of it was made: a death after that is not the trial's fault as far as we know."""
        if update > self.reached.get(trial.id, 0):
            self.reached[trial.id] = update
            self.deaths[trial.id] = 0

    def died(self, trial: Trial, how: str) -> Outcome | None:
        """Its process ended without an outcome: it is run again, or has a record now."""
        self.deaths[trial.id] += 1
        if self.deaths[trial.id] < self.limits.deaths:
            self.mine.append(trial)
            return None
        again = f", {self.deaths[trial.id]} times at the same place"
        return ended(trial, "lost", f"its process {how}{again}")

    def drop(self, give_back: Callable[[Trial], None]) -> None:
        """Hand out nothing more."""
        for trial in self.mine:
            give_back(trial)
        self.mine.clear()
        self.waiting.clear()


def ended(trial: Trial, status: Status, reason: str) -> Outcome:
    """The record of a trial that was ended from outside."""
    return Outcome(Record(trial=trial, status=status, reason=reason), {})
