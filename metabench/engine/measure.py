"""Clocks, peak memory, and what a process sets before it measures."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


@contextmanager
def timed(seconds: dict[str, float], clock: str, device: str) -> Iterator[None]:
    """Add the time of the block, even if it raises, to a clock; the device is synchronised first."""
    synchronise(device)
    began = time.perf_counter()
    try:
        yield
        synchronise(device)
    finally:
        seconds[clock] += time.perf_counter() - began


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def keep_freed_memory() -> None:
    """Have the C library (glibc) keep what torch frees, for the next tensor of that size; elsewhere do nothing.

    It would give every large block back to the system at once, and the next one be mapped and zeroed page by
    page: a quarter of the time of a convolutional update on a CPU.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(mmap_threshold, 1 << 30)
        library.mallopt(trim_threshold, (1 << 31) - 1)


def set_deterministic(enabled: bool, device: str) -> None:
    """Have torch refuse kernels whose results may differ from run to run, or allow them again."""
    if enabled and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    if torch.are_deterministic_algorithms_enabled() != enabled:  # it imports torch's compiler, for seconds
        torch.use_deterministic_algorithms(enabled)


def reset_peak_memory(device: str) -> None:
    """Reset the peak-memory counter where the system allows it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        pass


def peak_memory_mb(device: str) -> float:
    """Peak allocated memory of the CUDA device, or peak resident memory of this process, in MB (10^6 bytes)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
