"""One contender on one workload in a process of its own: JSON commands on stdin, JSON answers on stdout.

    python -m benchmarks.worker CONTENDER WORKLOAD.npz --threads N

Commands: `ready`, `load` (make it, first update), `gradient` (to a .npz file), `settle` (its number of threads),
`time` and `adapt` (n repeats), `memory`, `tensors`.
Nothing here imports torch: the contender's own module does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contenders, workloads


class Worker:
    """A contender and what its commands do."""

    def __init__(self, name: str, path: Path, threads: int) -> None:
        self.name, self.threads = name, threads
        self.workload, self.arrays = workloads.load(path)
        self.contender: Any = None
        self.resident = 0.0
        self.watching = False

    def ready(self) -> dict[str, Any]:
        """Its libraries were imported before the first command; what torch imports late would look like memory."""
        if "torch" in sys.modules:
            importlib.import_module("torch._dynamo")
        return {}

    def load(self) -> dict[str, Any]:
        """Make the contender and do the first update, one of which may compile: the seconds of both."""
        self.resident = status("VmRSS")
        began = time.perf_counter()
        self.contender = contenders.make(self.name, self.workload, self.arrays, self.threads)
        self.contender.update()
        return {"seconds": time.perf_counter() - began}

    def gradient(self, path: str) -> dict[str, Any]:
        """Write the direction at the initial weights."""
        np.savez(path, **self.contender.gradient())
        return {}

    def settle(self) -> dict[str, Any]:
        """Let the contender choose its number of threads."""
        settle = getattr(self.contender, "settle", lambda: self.threads)
        return {"threads": settle()}

    def time(self, n: int) -> dict[str, Any]:
        """Seconds of n updates; from the first call on the peak of memory is watched."""
        if not self.watching:
            forget_peak()
            self.watching = True
        return {"seconds": [seconds(self.contender.update) for _ in range(n)]}

    def adapt(self, n: int) -> dict[str, Any]:
        """Seconds of n adaptations to one task, after one that is not timed."""
        self.contender.adapt()
        return {"seconds": [seconds(self.contender.adapt) for _ in range(n)]}

    def memory(self) -> dict[str, Any]:
        """MB (10^6 bytes): resident before it was made, and the peak during the timed ones."""
        return {"resident": self.resident, "peak": status("VmHWM")}

    def tensors(self) -> dict[str, Any]:
        """MB (10^6 bytes) of tensors that one update has alive at its peak beyond those before it: torch only."""
        return {"peak": tensor_peak(self.contender.update) if "torch" in sys.modules else None}


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def status(field: str) -> float:
    """A figure of this process in MB, or NaN where the system does not tell."""
    try:
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def tensor_peak(call: Callable[[], Any]) -> float:
    """What torch allocated in a call and had not freed yet, at most, in MB; its own thread's tensors alone."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return float(max(np.cumsum(sizes), default=0)) / 1e6


def forget_peak() -> None:
    """Begin anew to watch for the peak of resident memory, on Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        pass


def answer(worker: Worker, line: str) -> dict[str, Any]:
    """What a command gave, or why it could not."""
    command = json.loads(line)
    try:
        return getattr(worker, command.pop("do"))(**command)
    except contenders.Unsupported as error:
        return {"unsupported": str(error)}
    except ImportError as error:
        return {"missing": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}


def main() -> None:
    """Serve commands until stdin ends. What libraries print goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(options.contender, options.workload, options.threads)
    try:
        contenders.module(options.contender)
    except ImportError:
        pass  # `load` says so
    for line in sys.stdin:
        print(json.dumps(answer(worker, line)), file=answers)


if __name__ == "__main__":
    main()
