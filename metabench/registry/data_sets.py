"""The data that suites need, as their packages say in `data_sets.toml`: source, licence, size, and where they lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from metabench.errors import UserError, attempt
from metabench.records.files import cache_dir
from metabench.registry.published import installed

NAME = "data_sets.toml"


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some suites are made of."""

    suites: list[str]
    files: list[str]
    """Below METABENCH_DATA or the downloads of the cache; any of them will do."""
    source: str
    licence: str
    download: int = 0
    """Bytes; 0 where the user brings a copy, or it depends."""
    prepared: int = 0
    """Bytes of the cache that the suite takes once it is prepared, at its defaults."""

    def here(self) -> list[Path]:
        """The files and folders that are there."""
        return list(dict.fromkeys(path for file in self.files for path in places(file) if os.path.exists(path)))


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data_sets.toml."""

    data: list[DataSet]


def places(file: str) -> Iterator[Path]:
    """Where a file may lie."""
    if local := os.environ.get("METABENCH_DATA"):
        yield from (Path(local) / file, Path(local) / Path(file).name)
    yield cache_dir() / "downloads" / file


def data_sets() -> tuple[DataSet, ...]:
    """Those of every installed package. Raises UserError."""
    found: list[DataSet] = []
    for path in installed(NAME):
        try:
            with attempt(f"read '{path}'"):
                found += msgspec.toml.decode(path.read_bytes(), type=File).data
        except (ValueError, RecursionError) as error:  # msgspec's and tomllib's are ValueErrors
            raise UserError(f"Cannot use '{path}': {error}.") from None
    return tuple(found)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(Path(folder) / file) for folder, _, files in os.walk(path) for file in files)
