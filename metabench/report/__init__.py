"""results/ -> a report: tables, figures and pages, a pure function of what was recorded. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from metabench import store
from metabench.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

    from metabench.trials import Record

__all__ = ["summary_table", "write_report"]

TERMINAL = (
    "suite",
    "algorithm",
    "protocol",
    "score_text",
    "score",
    "ci95",
    "seeds",
    "ok",
    "metric",
    "transductive",
    "train_seconds",
    "adapt_ms",
    "peak_memory_mb",
    "precision",
    "strategy",
)


def write_report(results: str | Path, out: str | Path) -> Path:
    """Write index.html, report.md, tables/ and figures/ into `out`; the same records give the same bytes.

    Returns the path of index.html. Raises UserError where there is nothing to report, or no writing to `out`.
    """
    from metabench.report import groups, page, pages, table

    results, out = Path(results), Path(out)
    records = list(store.records(results))
    if not records:
        raise UserError(f"There is no finished trial in '{results}'. `metabench run --out {results}` makes some.")
    content, summary = page.compose(results.resolve().name, records, groups.gather(records, results))
    files = pages.render(content)
    files["tables/summary.csv"] = csv(summary)
    files["tables/trials.csv"] = csv(table.trials(records))
    try:
        for name, data in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            store.write_atomically(out / name, data)
    except OSError as error:
        raise UserError(
            f"Cannot write the report to '{out}': {error.strerror or error}. Choose another with --out."
        ) from None
    return out / "index.html"


def summary_table(records: Iterable[Record], results: str | Path) -> DataFrame:
    """A row per suite, algorithm and protocol of `records`, best first; `results` holds their scores.

    `score_text` is the score with its interval, as a reader sees it.
    """
    import pandas as pd

    from metabench.report import groups, numbers, table

    if not (records := list(records)):
        return pd.DataFrame(columns=list(TERMINAL))
    frame = table.summary(groups.gather(records, Path(results)))
    parts = zip(frame["score"], frame["ci95"], frame["metric"])
    frame["score_text"] = [numbers.with_interval(*each) for each in parts]
    return frame[list(TERMINAL)]


def csv(table: DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
