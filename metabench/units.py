"""Durations and sizes as people write them: 90, 90s, 15m, 2h; 500MB, 2GB."""

from __future__ import annotations

import re

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def seconds_of(text: str) -> float:
    """`90`, `90s`, `15m`, `2h` or `1d` in seconds; raises ValueError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    if not found or not float(found[1]):
        raise ValueError(f"looks like 90s, 15m or 2h, not '{text}'")
    return float(found[1]) * SECONDS[found[2]]


def bytes_of(text: str) -> int:
    """`500MB`, `2GB` or `2GiB` in bytes; raises ValueError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([kmg]i?b)", text.strip().lower())
    if not found or not float(found[1]):
        raise ValueError(f"looks like 500MB or 2GB, not '{text}'")
    return int(float(found[1]) * BYTES[found[2]])


def describe(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def in_bytes(number: float) -> str:
    """`0 B`, `15 MB`, `1.3 GB`, `16 GB`: as disks are sold, in thousands."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.1f} {unit}" if number < 10 and unit == "GB" else f"{number:.0f} {unit}"
