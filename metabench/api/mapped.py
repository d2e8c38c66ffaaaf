"""Large data: made once in parallel, kept in the cache as one file, and mapped from there by every process."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock

from metabench.api.datasets import DataError, plain_name
from metabench.records.files import cache_dir

Item = TypeVar("Item")
Result = TypeVar("Result")

SAID = 10**9
"""Bytes of disk beyond which it is said what is taken, before it is."""
PATIENCE = 10.0
"""Seconds without a word, where no progress bar can be drawn."""


def mapped_array(
    key: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None], dtype: str = "uint8"
) -> np.ndarray:
    """The array that `fill` writes into: one `.npy` of the cache, whose memory all processes share.

    `key` must change whenever the array would. What a process writes into the array is its own, and never reaches the
    file. Raises DataError where the disk has no room; where the cache cannot be written, the array is in memory.
    """
    path = cache_dir() / f"{plain_name(key)}.npy"
    found = mapped(path, shape, dtype)
    if found is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # of two processes one makes it, and the other waits
            found = mapped(path, shape, dtype)
            if found is None:
                write(path, shape, fill, dtype)
                found = mapped(path, shape, dtype)
    except OSError:
        found = None
    if found is None:
        found = np.empty(shape, dtype)
        fill(found)
    return found


def mapped(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The array of a file, if it is whole and has this shape."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        return None
    except Exception:  # cut short by a crash: it is made again
        return None
    return array if array.shape == shape and array.dtype == dtype else None


def write(path: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], None], dtype: str) -> None:
    """Make the file, or none at all."""
    needed = prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(path.parent).free
    if needed + 2**20 > free:
        raise DataError(
            f"it needs {needed / 1e9:.2f} GB in '{path.parent}', which has {free / 1e9:.2f} GB left: name another "
            "cache folder by METABENCH_CACHE, or choose smaller images"
        )
    if needed > SAID:
        print(f"This takes {needed / 1e9:.1f} GB in '{path.parent}', of {free / 1e9:.1f} GB left.", file=sys.stderr)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        array = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
        fill(array)
        array.flush()
        del array
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """`work` of every item, in their order, by as many threads as there are cores; progress is shown on stderr.

    Raises what the first item raises that raises anything.
    """
    with ThreadPoolExecutor(cores()) as pool, progress(label, len(items)) as advance:
        results = []
        for result in pool.map(work, items):
            results.append(result)
            advance()
        return results


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr while it lasts, or a line every ten seconds where stderr is no terminal."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda: bar.advance(task)
        return
    done, said = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, said
        done += 1
        if time.monotonic() - said > PATIENCE:
            said = time.monotonic()
            print(f"{label}: {100 * done // total}%", file=sys.stderr, flush=True)

    yield advance
