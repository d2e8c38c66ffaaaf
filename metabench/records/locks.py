"""Per-trial locks: two drivers in one folder never run the same trial."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from metabench.records import store
from metabench.records.files import DamagedError, sweep
from metabench.records.trials import Trial

LOCKS = ".locks"
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer: there one command at a time is safe, and no more."""


class Claim(Enum):
    """What comes of asking for a trial."""

    ACQUIRED = "acquired"
    BUSY = "busy"
    """Another driver has it."""
    DONE = "done"
    """It has a record now."""


class TrialLocks:
    """Locks of the operating system on files in the results folder: they end with the process that holds them."""

    def __init__(self, root: Path, retry_failed: bool = False, outdated: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.retry_failed = retry_failed
        self.outdated = outdated or {}
        """By trial id the checksum of a record that is to be replaced."""
        self.held: dict[str, BaseFileLock] = {}

    def claim(self, trial: Trial) -> Claim:
        """Acquire the lock of a trial, if it can be had and the trial is still to run. Raises UserError."""
        lock = lock_on(self.root / LOCKS / f"{trial.id}.lock")
        try:
            (self.root / LOCKS).mkdir(exist_ok=True)
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):  # the last one to leave removes the folder
            return Claim.BUSY
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                with store.writing(self.root):
                    raise
        if self.is_done(trial):
            self.unlock(lock)
            return Claim.DONE
        sweep(self.root / trial.id)
        self.held[trial.id] = lock
        return Claim.ACQUIRED

    def is_done(self, trial: Trial) -> bool:
        """Whether another driver has finished it meanwhile."""
        try:
            record = store.record_of(self.root, trial.id)
            replaced = record is None or record.checksum != self.outdated.get(trial.id)
            return replaced and store.is_final(record, self.retry_failed)
        except DamagedError:
            return False

    def release(self, trial: Trial) -> None:
        """Let another driver have it: its record is written, or we stop."""
        lock = self.held.pop(trial.id, None)
        if lock:
            self.unlock(lock)

    def release_all(self) -> None:
        """Give everything back."""
        for lock in list(self.held.values()):
            self.unlock(lock)
        self.held.clear()

    def unlock(self, lock: BaseFileLock) -> None:
        """Delete the file before unlocking; otherwise another process could lock a file that is about to vanish."""
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
        with suppress(OSError):
            (self.root / LOCKS).rmdir()


def lock_on(path: Path) -> BaseFileLock:
    """A lock of the operating system; none that a killed process would leave behind."""
    return FileLock(path, fallback_to_soft=False)


def running(root: Path) -> set[str]:
    """The ids of the trials that some driver has at this moment."""
    ids = set()
    for path in (root / LOCKS).glob("*.lock"):
        lock = lock_on(path)
        try:
            with lock.acquire(timeout=0):
                pass
        except Timeout:
            ids.add(path.stem)
        except OSError:
            pass
    return ids
