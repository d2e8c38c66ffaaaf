"""Which trials this driver may run: each by one driver at a time, whoever else works in the same folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from metabench import store
from metabench.files import DamagedError, sweep
from metabench.trials import Trial

LOCKS = ".locks"


class Claims:
    """Locks of the operating system on files in the results folder: they end with the process that holds them."""

    def __init__(self, root: Path, retry_failed: bool = False) -> None:
        self.root = root
        self.retry_failed = retry_failed
        self.held: dict[str, FileLock] = {}

    def claim(self, trial: Trial) -> str:
        """`mine`; or `taken` by another driver at work; or `settled`, since it has a record now."""
        lock = FileLock(self.root / LOCKS / f"{trial.id}.lock")
        try:
            (self.root / LOCKS).mkdir(exist_ok=True)
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):  # the last one to leave removes the folder
            return "taken"
        if self.settled(trial):
            self.let_go(lock, remove=True)
            return "settled"
        sweep(self.root / trial.id)
        self.held[trial.id] = lock
        return "mine"

    def settled(self, trial: Trial) -> bool:
        """Whether another driver has finished it meanwhile."""
        try:
            return store.settled(store.record_of(self.root, trial.id), self.retry_failed)
        except DamagedError:
            return False

    def release(self, trial: Trial) -> None:
        """Somebody else may have it: its record is written, or we stop."""
        lock = self.held.pop(trial.id, None)
        if lock:
            self.let_go(lock, remove=True)

    def release_all(self) -> None:
        """Give everything back."""
        for lock in list(self.held.values()):
            self.let_go(lock, remove=True)
        self.held.clear()

    def let_go(self, lock: FileLock, remove: bool) -> None:
        """Unlock; the file is removed while we hold it, so that nobody can hold it and another one of its name."""
        if remove:
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()
        with suppress(OSError):
            (self.root / LOCKS).rmdir()


def running(root: Path) -> set[str]:
    """The ids of the trials that some driver has at this moment."""
    found = set()
    for path in (root / LOCKS).glob("*.lock"):
        lock = FileLock(path)
        try:
            with lock.acquire(timeout=0):
                pass
        except Timeout:
            found.add(path.stem)
        except OSError:
            pass
    return found
