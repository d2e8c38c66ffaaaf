"""Curves of one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16


def sparkline(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """A bar for each value, between `low` and `high` (of the values, unless given); the last of each stretch
    where there are more than fit."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return ""
    count = min(len(known), WIDTH)
    shown = [known[math.ceil((place + 1) * len(known) / count) - 1] for place in range(count)]
    low, high = min(known) if low is None else low, max(known) if high is None else high
    top = len(BARS) - 1
    return "".join(
        BARS[min(top, max(0, round(top * (value - low) / (high - low))))] if high > low else BARS[top // 2]
        for value in shown
    )
