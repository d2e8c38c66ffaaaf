"""results/<experiment>/plans/: which trials were asked for, and by which command."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import msgspec

from metabench.records.files import checksum, write_atomically
from metabench.records.plugin_files import PluginFile
from metabench.records.store import skipping
from metabench.records.trials import Trial

PLANS = "plans"


def requested_trials(root: Path) -> tuple[Trial, ...]:
    """The trials that were ever asked for in this folder; none where that is not known."""
    requested: dict[str, Trial] = {}
    for path in sorted((root / PLANS).glob("*.json")):
        try:
            requested |= {trial.id: trial for trial in msgspec.json.decode(path.read_bytes(), type=list[Trial])}
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            warnings.warn(f"Skipped '{path}', which cannot be used: {error}", stacklevel=2)
    return tuple(requested.values())


class Request(msgspec.Struct, frozen=True):
    """How trials were asked for, beside the file of which: for `metabench pack`."""

    command: str
    plugins: tuple[PluginFile, ...] = ()
    """The plugin files, as they were."""


def record_request(root: Path, trials: Iterable[Trial], request: Request | None = None) -> None:
    """Remember what was asked for, so that `metabench status` knows what is left: a file a command."""
    content = msgspec.json.encode(list(trials))
    path = root / PLANS / f"{checksum(content)[:12]}.json"
    if not path.exists():
        write_atomically(path, content)
    if request is not None:
        write_atomically(path.with_suffix(".request"), msgspec.json.encode(request))


def all_requests(root: Path) -> tuple[Request, ...]:
    """How the trials of a folder were asked for, where that is known."""
    found = []
    for path in sorted((root / PLANS).glob("*.request")):
        with skipping(f"'{path}'"):
            found.append(msgspec.json.decode(path.read_bytes(), type=Request))
    return tuple(found)
