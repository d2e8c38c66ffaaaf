"""Checkpoints of running trials on disk: a line of JSON that says what it is, then the state. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from metabench.records.files import DamagedError, checksum, set_aside, write_atomically

CHECKPOINT_VERSION = 1
NAME = "checkpoint.pt"
TRAINING = "training.pt"
"""The end of a training, in a form that a longer one can go on from: a checkpoint without a test."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a checkpoint. A trial goes on from it only if `trial`, `code` and `data` are its own."""

    version: int = CHECKPOINT_VERSION
    trial: str
    code: dict[str, Any]
    """The versions of what computes the trial: metabench, torch, its plugins."""
    data: list[str | None] = []
    """Digests of the data and of the first test tasks."""
    update: int
    updates: int
    validations: int = 0
    lineage: str = ""
    """See Trial."""
    seconds: float
    """Of computing so far."""
    sha256: str = ""
    """Of the state."""


class CheckpointStore(Protocol):
    """Where the checkpoint of one trial is kept."""

    @property
    def results(self) -> Path | None:
        """The results folder that the trial's own lies in, where this process sees it."""
        ...

    def save(self, content: bytes, update: int) -> None:
        """Keep it in place of the one before. Raises OSError."""
        ...

    def load(self) -> bytes | None:
        """What was kept last, if anything."""
        ...

    def load_shorter(self, lineage: str, updates: int) -> bytes | None:
        """The end of the longest training of this lineage with fewer updates, if one was kept."""
        ...

    def refuse(self, reason: str) -> None:
        """What `load` gave cannot be used: never give it again."""
        ...


class NullCheckpointStore:
    """Keeps nothing."""

    @property
    def results(self) -> Path | None:
        """See CheckpointStore."""
        return None

    def save(self, content: bytes, update: int) -> None:
        """See CheckpointStore."""

    def load(self) -> bytes | None:
        """See CheckpointStore."""
        return None

    def load_shorter(self, lineage: str, updates: int) -> bytes | None:
        """See CheckpointStore."""
        return None

    def refuse(self, reason: str) -> None:
        """See CheckpointStore."""


class FolderCheckpointStore:
    """Keeps the checkpoint in the trial's folder of the results."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    @property
    def results(self) -> Path | None:
        """See CheckpointStore."""
        return self.path.parent.parent

    def save(self, content: bytes, update: int) -> None:
        """See CheckpointStore."""
        write_atomically(self.path, content)

    def load(self) -> bytes | None:
        """See CheckpointStore."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def load_shorter(self, lineage: str, updates: int) -> bytes | None:
        """See CheckpointStore: it lies in a folder beside the trial's."""
        found = [
            (header.updates, path)
            for path in self.path.parent.parent.glob(f"*/{TRAINING}")
            if (header := header_in(path)) and header.lineage == lineage and header.updates < updates
        ]
        try:
            return max(found)[1].read_bytes() if found else None
        except OSError:
            return None

    def refuse(self, reason: str) -> None:
        """See CheckpointStore: it is set aside."""
        set_aside(self.path)


def sealed(header: Header, state: bytes) -> bytes:
    """The content of a checkpoint."""
    whole = msgspec.structs.replace(header, sha256=checksum(state))
    return msgspec.json.encode(whole) + b"\n" + state


def opened(content: bytes) -> tuple[Header, bytes]:
    """The header and the state; raises DamagedError."""
    line, _, state = content.partition(b"\n")
    header = read_header(line)
    if header.version != CHECKPOINT_VERSION:
        raise DamagedError(f"it has version {header.version}, this metabench reads {CHECKPOINT_VERSION}")
    if checksum(state) != header.sha256:
        raise DamagedError("its checksum does not match")
    return header, state


def read_header(line: bytes) -> Header:
    """The first line of a checkpoint; raises DamagedError."""
    try:
        return msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DamagedError("its first line cannot be read") from None


def header_of(folder: Path) -> Header | None:
    """How far the checkpoint in a trial's folder is; None where there is none that can be read."""
    return header_in(folder / NAME)


def header_in(path: Path) -> Header | None:
    """The header of a checkpoint; None where there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return read_header(file.readline(100_000))
    except (OSError, DamagedError):
        return None
