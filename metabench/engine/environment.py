"""What a record says about the machine and the code that made it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from functools import cache
from pathlib import Path

import torch

from metabench.records.provenance import Provenance, version_of


def environment(device: str) -> Provenance:
    """Versions, hardware and the state of the working copy, now."""
    return Provenance(
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        cpu=cpu_name(),
        cores=os.cpu_count(),
        platform=platform.platform(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        metabench=version_of("metabench"),
        git=git_commit(),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def load_now() -> float | None:
    """Processes that want a core, over a minute; None where the system does not count them."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def bits(device: str, deterministic: bool, strategy: str, layers: str) -> str:
    """What a record promises to whoever runs its trial again."""
    if device.startswith("cuda") and not deterministic:
        return "may differ from run to run: CUDA kernels may add in any order (see --deterministic)"
    where = "this GPU model" if device.startswith("cuda") else "this CPU model"
    strategy = f"{strategy or 'unknown'} ({layers})" if layers else strategy or "unknown"
    return f"the same with these versions, strategy {strategy} and {where}"


@cache
def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


@cache
def git_commit() -> str:
    """The commit of the checkout that metabench runs from, with `-dirty` for changes; empty outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(commit, capture_output=True, encoding="utf-8", timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
