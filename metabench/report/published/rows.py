"""Our numbers beside published ones as a reader sees them: rows for a page, a terminal, CSV."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from metabench.report import formatting
from metabench.report.published.comparison import STEPS, Beside

COLUMNS = (
    *("suite", "algorithm", "protocol", "metric", STEPS, "score", "ci95", "seeds", "published", "published_half"),
    *("spread", "gap", "gap_ci95", "differences", "not_said", "effects", "source", "note"),
)
HEADINGS = ("suite", "algorithm", "steps", "ours", "published", "gap", "differences", "source")


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


def shown(row: Beside) -> dict[str, str]:
    """A row as a reader sees it, under HEADINGS; and `effects`, what its differences are known to do."""
    unsaid = f". Not said: {', '.join(row.not_said)}" if row.not_said else ""
    return {
        "suite": row.suite,
        "algorithm": f"{row.algorithm} ({row.protocol})",
        "steps": f"{row.steps}",
        "ours": formatting.with_interval(row.ours.mean, row.ours.half, row.metric),
        "published": formatting.with_interval(row.theirs.value, row.theirs.half, row.metric),
        "gap": gap(row),
        "differences": ("; ".join(row.differences) or "none that is known") + unsaid,
        "source": f"{row.theirs.source} ({row.theirs.note})" if row.theirs.note else row.theirs.source,
        "effects": "; ".join(row.effects),
    }


def gap(row: Beside) -> str:
    """`−3.10 ± 0.42 points`; without an interval where they give none."""
    if row.half is not None:
        return formatting.difference(row.gap, row.half, row.metric)
    return formatting.difference(row.gap, 0.0, row.metric).partition(" ±")[0] + " points" * formatting.is_share(
        row.metric
    )
