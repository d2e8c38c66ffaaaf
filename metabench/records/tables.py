"""A DataFrame that a notebook shows with as many digits as its numbers deserve, as the report's tables do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from metabench.records.digits import places, three_digits

WITH_INTERVAL = ("score", "ci95")
MOST_PLACES = 6


class Table(pd.DataFrame):  # type: ignore[misc]  # pandas says nothing of its types
    """A DataFrame in all: its values are not rounded, only what a notebook shows of them."""

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def _repr_html_(self) -> str | None:
        option = pd.get_option
        if not option("display.notebook_repr_html"):
            return None
        most = option("display.max_rows")
        rows = option("display.min_rows") if most and len(self) > most else most
        shown: str = self.to_html(
            max_rows=rows, max_cols=option("display.max_columns"), show_dimensions=True, notebook=True,
            formatters=writers(self),
        )  # fmt: skip
        return shown


def writers(table: pd.DataFrame) -> dict[str, Callable[[float], str]]:
    """By column of numbers with a fraction: how they are written. A score as finely as the narrowest interval of the
    column allows, all else with three digits."""
    written: dict[str, Callable[[float], str]] = dict.fromkeys(table.select_dtypes("float"), three_digits)
    halves = [half for half in table.get("ci95", ()) if isinstance(half, float) and half > 0 and math.isfinite(half)]
    if halves:
        fine = min(places(min(halves)), MOST_PLACES)
        exact = {name: lambda value: "–" if math.isnan(value) else f"{value:.{fine}f}" for name in WITH_INTERVAL}
        written |= {name: write for name, write in exact.items() if name in written}
    return written
