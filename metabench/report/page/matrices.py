"""The two matrices of the page: algorithms x suites, and every algorithm against every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from metabench.report import formatting
from metabench.report.analysis.pairs import all_pairs
from metabench.report.collect.configurations import Configuration

Rows = list[dict[str, Any]]


class Versus(NamedTuple):
    """All pairs under one protocol: a row of `cells` an algorithm, what it has more than that of the column."""

    title: str
    unit: str
    names: tuple[str, ...]
    cells: tuple[tuple[tuple[str, str, bool], ...], ...]
    """The difference, its interval in words, whether it is significant."""


def against(title: str, members: Sequence[Configuration]) -> Versus:
    """Every two algorithms of a comparison group."""
    names, metric = tuple(group.algorithm for group in members), members[0].metric
    unit = " points" if formatting.is_share(metric) else ""
    known: dict[tuple[str, str], tuple[str, str, bool]] = {}
    for pair in all_pairs(members):
        first, second, gap = pair.first.algorithm, pair.second.algorithm, pair.difference
        for a, b, seen in ((first, second, gap), (second, first, gap.flipped())):
            alone, whole = (
                formatting.difference(seen.mean, half, metric).removesuffix(unit) for half in (None, seen.half)
            )
            known[a, b] = (alone, f"{whole}, p = {pair.adjusted:.2g}", pair.significant)
    cells = tuple(tuple(known.get((a, b), ("", "", False)) for b in names) for a in names)
    return Versus(title, unit and f", in{unit}", names, cells)


def matrix(table: pd.DataFrame) -> Rows:
    """Algorithms x suites, by average rank where an algorithm was scored; none for one suite."""
    if table["suite"].nunique() < 2:
        return []
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    places: dict[str, list[int]] = {}
    for suite, rows in table.groupby("suite", sort=False):
        for place, row in enumerate(rows.to_dict("records")):
            if str(suite) not in cells.setdefault(row["algorithm"], {}):
                cells[row["algorithm"]][str(suite)] = row
                places.setdefault(row["algorithm"], []).append(place)
    order = sorted(cells, key=lambda name: (sum(places[name]) / len(places[name]), name))
    return [{"algorithm": name, "suites": cells[name]} for name in order]
