"""A worker as the driver sees it: a process that answers within a time limit, or a reason why not."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.contenders import Entry
from benchmarks.install import BENCH

KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_ARENA_MAX": "1",
}
"""What `metabench.engine.measure.keep_freed_memory` sets, for everybody: glibc reads it when a process starts."""


class Absent(Exception):  # noqa: N818
    """A contender has no figures for this work; the message is what its row says."""


class Remote:
    """One contender's worker on one workload."""

    def __init__(self, entry: Entry, path: Path, threads: int) -> None:
        self.name = entry.name
        self.log = BENCH / "logs" / f"{path.stem}-{entry.name.replace(' ', '-')}.txt"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **KEEP_FREED_MEMORY}
        if entry.folder:
            environment["PYTHONPATH"] = str(BENCH / entry.folder)
        command = [sys.executable, "-m", "benchmarks.worker", entry.name, str(path), "--threads", str(threads)]
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=environment,
                cwd=BENCH.parent,
            )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Put answers where `ask` waits for them; an empty one at the end."""
        for line in self.process.stdout or ():
            self.answers.put(line)
        self.answers.put("")

    def ask(self, do: str, limit: float, **arguments: Any) -> dict[str, Any]:
        """A command's answer. Raises Absent where there is none within `limit` seconds, or it is a refusal."""
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=limit)
        except queue.Empty:
            self.close()
            raise Absent(f"over the time limit: {do} took more than {limit:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            self.close()
            raise Absent(f"died in {do} (exit code {self.process.returncode}): {self.last_words()}")
        answer = json.loads(line)
        for key, words in (("unsupported", "not supported"), ("missing", "not installed"), ("error", "failed")):
            if key in answer:
                raise Absent(f"{words}: {answer[key]}")
        return answer

    def last_words(self) -> str:
        """The last line that the worker left on stderr."""
        lines = self.log.read_text(errors="replace", encoding="utf-8").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def close(self) -> None:
        """End the worker."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
