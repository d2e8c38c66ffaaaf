"""How many digits a number deserves."""

from __future__ import annotations

import math


def places(half: float) -> int:
    """Decimals with which a value is written whose interval has this half-width: two digits of it are seen."""
    return max(0, 1 - math.floor(math.log10(half)))


def three_digits(value: float) -> str:
    """`1234`, `12.3`, `0.001`, or `–` for what is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if 100 <= abs(value) < 1e15 else f"{value:.3g}"
