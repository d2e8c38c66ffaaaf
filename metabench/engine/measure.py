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


class UpdateClock:
    """Books the seconds of `sample` and `train`, update by update, without a wait for the device at each.

    On a CPU each part is timed as it runs. A CUDA device trains while the next tasks are drawn: there events in its
    stream say how long the updates took, from the moment at which it could begin with one to its end, and the rest of
    the time is sampling's. They are booked by `read`, which waits for the device.
    """

    def __init__(self, seconds: dict[str, float], device: str) -> None:
        self.seconds, self.device = seconds, device
        self.cuda = device.startswith("cuda")
        self.began = 0.0
        self.updates: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Around the drawing of an update's tasks."""
        if self.cuda:
            self.began = self.began or time.perf_counter()
            yield
            return
        with timed(self.seconds, "sample", self.device):
            yield

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around an update."""
        if not self.cuda:
            with timed(self.seconds, "train", self.device):
                yield
            return
        self.began = self.began or time.perf_counter()
        stream = torch.cuda.current_stream(self.device)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record(stream)
        yield
        ended.record(stream)
        self.updates.append((began, ended))

    def read(self) -> None:
        """Book what was not yet booked."""
        if self.began:
            synchronise(self.device)
            train = sum(began.elapsed_time(ended) for began, ended in self.updates) / 1000
            self.seconds["train"] += train
            self.seconds["sample"] += max(0.0, time.perf_counter() - self.began - train)
        self.began, self.updates = 0.0, []


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def keep_freed_memory() -> None:
    """Have the C library (glibc) keep what torch frees, for the next tensor of that size; elsewhere do nothing.

    It would give every large block back to the system at once, and the next one be mapped and zeroed page by
    page: a quarter of the time of a convolutional update on a CPU. What one thread freed is there for the others too.
    """
    mmap_threshold, trim_threshold, arena_max = -3, -1, -8  # of malloc.h, with M_ in front
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(mmap_threshold, 1 << 30)
        library.mallopt(trim_threshold, (1 << 31) - 1)
        library.mallopt(arena_max, 1)


def set_deterministic(enabled: bool, device: str) -> None:
    """Have torch refuse kernels whose results may differ from run to run, or allow them again."""
    if enabled and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    if torch.are_deterministic_algorithms_enabled() != enabled:  # it imports torch's compiler, for seconds
        torch.use_deterministic_algorithms(enabled)


def set_device(device: str) -> None:
    """Make a CUDA device this process's own, and let float32 be float32: torch's convolutions would take TF32."""
    if device.startswith("cuda"):
        if (number := torch.device(device).index) is not None:
            torch.cuda.set_device(number)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def reset_peak_memory(device: str) -> None:
    """Begin the peak anew where the system allows it, without what earlier trials of this process have left behind.

    What they freed goes back to the system first (see keep_freed_memory): it would count as this trial's.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


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
