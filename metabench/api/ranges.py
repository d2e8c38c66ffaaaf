"""What a number that a factory takes may be, declared once: in the annotation of its parameter.

`inner_lr: Rate = 0.01`, or `Annotated[float, Range(gt=0, le=10)]`. The harness refuses other values before anything
runs, `metabench list` shows the range, and `metabench tune` stays in it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta as Range

__all__ = ["Positive", "Range", "Rate", "Share", "Size", "Steps"]

Rate = Annotated[float, Range(ge=0)]
"""A step size, or another strength that may be nothing."""
Positive = Annotated[float, Range(gt=0)]
"""A number that is divided by, or that a logarithm is taken of."""
Share = Annotated[float, Range(ge=0, le=1)]
"""A part of a whole."""
Steps = Annotated[int, Range(ge=0)]
"""A number of steps, none included."""
Size = Annotated[int, Range(ge=1)]
"""How many there are of what cannot be missing: points, classes, units."""
