"""Our numbers beside published ones as a reader sees them: rows for a page, a terminal, CSV."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from metabench.report import formatting
from metabench.report.published.comparison import STEPS, Beside

COLUMNS = (
    *("suite", "algorithm", "protocol", "metric", STEPS, "score", "ci95", "seeds", "published", "published_half"),
    *("spread", "gap", "gap_ci95", "differences", "not_said", "effects", "source", "note"),
)
HEADINGS = ("suite", "algorithm", "steps", "ours", "published", "gap", "source", "what differs")


def frame(rows: Iterable[Beside]) -> pd.DataFrame:
    """A row per published number, its numbers as they are: for tables/published.csv."""
    return pd.DataFrame(
        [
            (
                *(row.suite, row.algorithm, row.protocol, row.metric, row.steps, row.ours.mean, row.ours.half),
                *(row.seeds, row.theirs.value, row.theirs.half, row.theirs.spread, row.gap, row.half),
                *("; ".join(texts) for texts in (row.differences, row.not_said, row.effects)),
                *(row.theirs.source, row.theirs.note),
            )
            for row in rows
        ],
        columns=list(COLUMNS),
    )


def shown(row: Beside) -> dict[str, Any]:
    """A row as a reader sees it: texts, and lists of texts."""
    return {
        "suite": row.suite,
        "algorithm": row.algorithm,
        "protocol": row.protocol,
        "steps": row.steps,
        "ours": formatting.with_interval(row.ours.mean, row.ours.half, row.metric),
        "published": formatting.with_interval(row.theirs.value, row.theirs.half, row.metric),
        "gap": gap(row),
        "differences": list(row.differences),
        "not_said": list(row.not_said),
        "effects": list(row.effects),
        "source": row.theirs.source,
        "note": row.theirs.note,
    }


def gap(row: Beside) -> str:
    """`−3.10 ± 0.42 points`; without an interval where they give none."""
    if row.half is not None:
        return formatting.difference(row.gap, row.half, row.metric)
    return formatting.difference(row.gap, 0.0, row.metric).partition(" ±")[0] + " points" * formatting.is_share(
        row.metric
    )


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One row, as `shown` gives it, under HEADINGS."""
    name = row["algorithm"] if row["protocol"] == "transductive" else f"{row['algorithm']}, {row['protocol']}"
    said = "; ".join(row["differences"]) or "nothing that is known"
    unsaid = f"; not said: {', '.join(row['not_said'])}" if row["not_said"] else ""
    return (
        *(row["suite"], name, str(row["steps"]), row["ours"], row["published"], row["gap"], row["source"]),
        said + unsaid,
    )
