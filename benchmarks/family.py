"""The family's numbers in docs/which-algorithm.md: scores beside MAML's and those of no training, costs of an update.

python -m benchmarks.family [results/family ...]    # what `make family` ran, in one folder or several

Writes benchmarks/results/family_scores.csv, the tables between two comments of the page, and in its first table the
cost of an update, from benchmarks/results/family.csv (`python -m benchmarks.cpu --family`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import pandas as pd

from benchmarks import ROOT
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, collect
from metabench.report.collect.merge import merge
from metabench.report.statistics import Interval, difference

BEGIN, END = "<!-- family:begin -->", "<!-- family:end -->"
AGAINST = ("scratch", "maml")
PAGE = ROOT / "docs" / "which-algorithm.md"
CSV = ROOT / "benchmarks" / "results" / "family_scores.csv"
COSTS = ROOT / "benchmarks" / "results" / "family.csv"
SUITES = ("sinusoid", "glyphs", "omniglot", "cifar-fs")


def rows(groups: Sequence[Configuration]) -> Iterator[dict[str, object]]:
    """A row an algorithm and suite: its score, and what it gains over each of AGAINST, more is better.

    Each interval is of 95% by itself: what is asked is of one algorithm, not which of all is best. A gain needs two
    seeds that both have.
    """
    for suite, members in grouped((group.suite, group) for group in groups if group.steps).items():
        by_name = {group.algorithm: group for group in members}
        for name, group in by_name.items():
            row = {"suite": suite, "algorithm": name, "metric": group.metric, "seeds": len(group.steps)}
            row |= of_interval("score", group.score())
            for other in AGAINST:
                if other in by_name and other != name and len(group.final.keys() & by_name[other].final.keys()) > 1:
                    found = difference(group.final, by_name[other].final)
                    found = found if group.higher_is_better else found.flipped()
                    row |= of_interval(f"over_{other}", found)
            yield row


def of_interval(name: str, found: Interval) -> dict[str, float]:
    """Its mean and half its width, as columns."""
    return {name: found.mean, f"{name}_half": found.half}


def cell(row: pd.Series, column: str) -> str:
    """A number and its interval, in points where it is a share; bold where the interval of a gain leaves 0 out."""
    value, half = row[column], row[f"{column}_half"]
    if pd.isna(value):
        return "–"
    points, gain = row["metric"] == "accuracy", column != "score"
    value, half = (100 * value, 100 * half) if points else (value, half)
    text = f"{value:{'+' if gain else ''}.{1 if points else 2}f} ± {half:.{1 if points else 2}f}"
    return f"**{text}**" if gain and abs(value) > half else text


def table(found: pd.DataFrame) -> str:
    """As Markdown: for each suite a table, best first."""
    parts = []
    for suite in [name for name in SUITES if name in set(found.suite)]:
        of_suite = found[found.suite == suite]
        lower = (of_suite.metric != "accuracy").all()
        seeds = of_suite.seeds.max()
        what = "squared error" if lower else "accuracy, %"
        parts.append(f"\n| `{suite}` | {what} | over `scratch` | over `maml` |\n|---|---:|---:|---:|")
        for _, row in of_suite.sort_values("score", ascending=lower).iterrows():
            fewer = f" ({row.seeds} of {seeds} seeds)" if row.seeds < seeds else ""
            cells = [cell(row, column) for column in ("score", "over_scratch", "over_maml")]
            parts.append(f"| `{row.algorithm}`{fewer} | {' | '.join(cells)} |")
    return "\n".join(parts).strip()


def with_costs(page: str) -> str:
    """The page, the fifth of its first table's seven cells being the time of an update over MAML's, with blocks."""
    times = pd.read_csv(COSTS).set_index("algorithm").blocks_ms
    lines = []
    for line in page.splitlines():
        cells = line.split("|")
        name = cells[1].strip(" `") if len(cells) == 9 else ""
        if name in times:
            cells[5] = f" {times[name] / times['maml']:.1f} "
        lines.append("|".join(cells))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read, write."""
    merged = merge(sys.argv[1:] or [ROOT / "results" / "family"])
    pd.DataFrame(rows(collect(merged.records, merged.roots))).to_csv(CSV, index=False, float_format="%.4g")
    shown = table(pd.read_csv(CSV))
    page = with_costs(PAGE.read_text("utf-8"))
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", "utf-8")
    print(shown)
    print(*merged.notes, sep="\n")


if __name__ == "__main__":
    main()
