"""Clocks, memory and provenance: what a record says about the machine that made it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch


class Clock:
    """Seconds spent inside `with clock:`, on a device that is synchronised first."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Adds the time of the block, even if it raises."""
        synchronise(self.device)
        began = time.perf_counter()
        try:
            yield
            synchronise(self.device)
        finally:
            self.seconds += time.perf_counter() - began


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


def be_deterministic(wanted: bool) -> None:
    """Have torch refuse kernels whose results may differ from run to run, or take them again."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(wanted)


def reset_peak_memory(device: str) -> None:
    """Begin anew to watch for the peak; on Linux a process can forget its old one."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory_mb(device: str) -> float:
    """Peak allocated memory of the CUDA device, or peak resident memory of this process, in MB (10^6 bytes)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def provenance(device: str, threads: int) -> dict[str, Any]:
    """Versions, hardware and the state of the working copy."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "metabench": version_of("metabench"),
        "git": git_commit(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def bits(device: str, deterministic: bool, strategy: str) -> str:
    """What a record promises to whoever runs its trial again."""
    if device.startswith("cuda") and not deterministic:
        return "may differ from run to run: CUDA kernels may add in any order (see --deterministic)"
    where = "this GPU model" if device.startswith("cuda") else "this CPU model"
    return f"the same with these versions, strategy {strategy or 'unknown'} and {where}"


def version_of(distribution: str) -> str:
    """The installed version, or an empty string."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


@cache
def git_commit() -> str:
    """The commit of the checkout that metabench runs from, with `-dirty` for changes; empty outside one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        commit = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(commit, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
