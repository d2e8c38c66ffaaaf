"""Where data sets come from: a local copy, the cache, or a download that is checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from metabench.errors import UserError


class DataError(UserError):
    """Data that is missing or cannot be read; says where it was looked for and what to do."""


def cache_dir() -> Path:
    """`METABENCH_CACHE`, or the user's cache folder of the platform."""
    return Path(os.environ.get("METABENCH_CACHE") or platformdirs.user_cache_dir("metabench"))


def fetch(suite: str, name: str, url: str, checksum: str) -> Path:
    """A file of a data set: from `METABENCH_DATA` (`--data`) if it lies there, else downloaded and checked.

    Looked for as `<METABENCH_DATA>/<suite>/<name>` and `<METABENCH_DATA>/<name>`. `checksum` is that of the
    download, such as "md5:68d2...". Raises DataError.
    """
    local = os.environ.get("METABENCH_DATA")
    if local:
        for path in (Path(local) / suite / name, Path(local) / name):
            if path.is_file():
                return path
    import pooch

    try:
        return Path(pooch.retrieve(url, known_hash=checksum, fname=name, path=cache_dir() / "downloads" / suite))
    except Exception as error:  # whatever the network or the disk says, the remedy is the same
        looked = f"'{local}' (METABENCH_DATA) does not hold it, and " if local else ""
        raise DataError(
            f"Suite '{suite}' needs '{name}': {looked}downloading {url} failed ({type(error).__name__}). "
            f"Put the file into a folder '{suite}' and give its parent with --data or METABENCH_DATA."
        ) from None


def cached_arrays(key: str, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `build` makes, kept on disk under `key`, which must change whenever the arrays would."""
    path = cache_dir() / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        pass
    except Exception:  # a file cut short by a crash: make it again
        path.unlink(missing_ok=True)
    arrays = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    except OSError:
        pass  # a cache that cannot be written costs time, not correctness
    return arrays
