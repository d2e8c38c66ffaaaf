"""A Dask cluster as the driver sees it: the connection to its scheduler, and the workers that may get trials."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import dask
from distributed import Client, LocalCluster
from distributed.utils import silence_logging_cmgr

from metabench.errors import UserError, attempt
from metabench.experiments.executors.dask_worker import sees
from metabench.processes import hidden_main
from metabench.records.provenance import version_of

log = logging.getLogger(__name__)
PACKAGES = ("metabench", "torch", "learn2learn")
"""A trial's scores depend on their versions, which must be the same everywhere."""
REMEDY = " Install the same on both."
CONNECT_TIMEOUT_S = 10.0
"""Seconds to wait for a scheduler."""
REFRESH_S = 1.0
"""Seconds between looks for new and lost workers."""
GPU_RESOURCE = {"GPU": 1}
"""The Dask resource that a trial on CUDA takes."""
TOKEN_LIFETIME_S = 24 * 3600.0
"""Seconds after which a token file may be deleted: its driver was killed."""


@contextmanager
def token_in(folder: Path) -> Iterator[Path]:
    """A file that holds its own name: a worker that reads it sees the same folder."""
    path = folder / f".dask-{uuid.uuid4().hex}"
    with attempt(f"write to '{folder}'"):
        path.write_text(path.name, encoding="utf-8")
    for other in folder.glob(".dask-*"):
        with suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > TOKEN_LIFETIME_S:  # its driver was killed
                other.unlink()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def connected(scheduler: str | None, jobs: int, cuda: bool) -> Iterator[Client]:
    """A client of a scheduler, or of `jobs` workers on this machine; raises UserError."""
    settings = {
        "distributed.comm.timeouts.connect": f"{CONNECT_TIMEOUT_S}s",
        "distributed.admin.large-graph-warning-threshold": "1GiB",  # a checkpoint may go with a trial
    }
    with dask.config.set(settings), silence_logging_cmgr(logging.CRITICAL):  # what matters is raised as well
        if scheduler:
            try:
                client = Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
            except (OSError, ValueError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(
                    f"No Dask scheduler answers at '{scheduler}' ({reason}). Start one with `dask scheduler`, or "
                    "leave --scheduler out for a cluster on this machine."
                ) from None
            with client:
                refuse_other_scheduler(client, scheduler)
                yield client
            return
        with hidden_main():
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.ERROR,
                memory_limit=0,  # Dask would measure the worker, but trials have processes of their own
                resources=GPU_RESOURCE if cuda else None,
                preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # Ctrl-C is the driver's
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def refuse_other_scheduler(client: Client, scheduler: str) -> None:
    """Raise UserError if the scheduler cannot read what we send: it unpacks it, so it needs metabench too."""
    try:
        theirs = client.run_on_scheduler(importlib.metadata.version, "metabench")
    except importlib.metadata.PackageNotFoundError:
        theirs = ""
    if theirs != version_of("metabench"):
        raise UserError(differs(f"scheduler {scheduler}", "metabench", theirs) + REMEDY)


class WorkerInfo(NamedTuple):
    """A worker that may get trials."""

    places: int
    """Trials at once: its threads, or its graphics cards."""
    shared: bool
    """Whether it sees the results folder."""


class WorkerPool:
    """Tracks workers as they come and go; those with other versions than the driver's get no trials."""

    def __init__(self, client: Client, token: Path, cuda: bool) -> None:
        self.client = client
        self.token = token
        self.cuda = cuda
        self.members: dict[str, WorkerInfo] = {}
        """By address."""
        self.refused: set[str] = set()
        self.missed = False
        self.next_refresh = 0.0

    def refresh(self, begun: bool) -> None:
        """Update the members. A wrong version raises UserError, or only warns once trials have begun."""
        if time.monotonic() < self.next_refresh:
            return
        there = self.client.scheduler_info(n_workers=-1)["workers"]
        self.refused &= there.keys()
        new = [address for address in there if address not in self.members and address not in self.refused]
        shared = {address: member.shared for address, member in self.members.items()} | self.admit(new, begun)
        self.members = {
            address: WorkerInfo(self.places(facts), shared[address])
            for address, facts in there.items()
            if address in shared
        }
        if not any(member.places for member in self.members.values()) and not self.missed:
            self.missed = True
            kind = "worker with the resource GPU=1" if self.cuda else "worker"
            log.warning(f"No Dask {kind} is there that can take a trial; waiting for one.")
        self.next_refresh = time.monotonic() + REFRESH_S

    def places(self, facts: dict[str, Any]) -> int:
        """How many trials a worker takes at once."""
        if facts["status"] != "running":
            return 0
        threads: int = facts["nthreads"]
        return min(threads, int(facts["resources"].get("GPU", 0))) if self.cuda else threads

    def admit(self, new: Iterable[str], begun: bool) -> dict[str, bool]:
        """By address, for new workers with the right versions: whether they share the results folder."""
        addresses = list(new)
        if not addresses:
            return {}
        for address, fault in self.faults(addresses).items():
            if not begun:
                raise UserError(fault + REMEDY)
            log.warning(f"{fault} It is given no trial.")
            self.refused.add(address)
            addresses.remove(address)
        seen = self.ask(addresses, sees, self.token, self.token.name)
        return {address: answer for address, answer in seen.items() if isinstance(answer, bool)}

    def faults(self, addresses: list[str]) -> dict[str, str]:
        """What is wrong with the versions of workers, by address. Needs no metabench there."""
        faults: dict[str, str] = {}
        for address, answer in self.ask(addresses, platform.python_version).items():
            if isinstance(answer, str) and minor(answer) != minor(platform.python_version()):
                faults[address] = differs(f"worker {address}", "Python", answer, platform.python_version())
        for package in PACKAGES:
            for address, answer in self.ask(addresses, importlib.metadata.version, package).items():
                theirs = "" if isinstance(answer, importlib.metadata.PackageNotFoundError) else answer
                if isinstance(theirs, str) and theirs != version_of(package):
                    faults.setdefault(address, differs(f"worker {address}", package, theirs))
        return faults

    def ask(self, addresses: list[str], function: Any, *arguments: Any) -> dict[str, Any]:
        """Run a function on each worker: the answer or the exception by address; OSError from one that is gone."""
        if not addresses:
            return {}
        answers: dict[str, Any] = self.client.run(function, *arguments, workers=addresses, on_error="return")
        return answers


def minor(version: str) -> list[str]:
    """3 and 11 of 3.11.7."""
    return version.split(".")[:2]


def differs(who: str, package: str, theirs: str, mine: str | None = None) -> str:
    """The complaint about a version."""
    mine = version_of(package) if mine is None else mine
    return f"The Dask {who} has {package} {theirs or '(none)'}, the driver has {mine or '(none)'}."
