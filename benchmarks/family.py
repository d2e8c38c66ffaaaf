"""The family's numbers in docs/which-algorithm.md: scores beside MAML's and those of no training, costs of an update.

python -m benchmarks.family [results/family ...]    # what `make family` ran, all or part, in one folder or several
python -m benchmarks.family --algos                 # the algorithms of the table, with commas

Writes benchmarks/results/family_scores.csv, the tables between two comments of the page, and in its first table the
cost of an update, from benchmarks/results/family.csv (`python -m benchmarks.cpu --family`). Only trials that
benchmarks/family.toml and family-colour.toml ask for count; under each table stands what is not there, and of which
code it is. A row stays as it was written where the folders hold no trial of it: so an algorithm can be run alone,
with `scratch` and `maml`, which it is set beside. Where the seeds asked for leave it open whether it learns, one more
that is there counts too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pandas as pd

from benchmarks import ROOT
from metabench.engine.digests import code_digests, code_now
from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.records.matching import changes
from metabench.records.record import Record
from metabench.records.trials import Trial
from metabench.registry.discovery import load_registry
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, collect
from metabench.report.collect.merge import merge
from metabench.report.formatting import minus
from metabench.report.statistics import Interval, difference

BEGIN, END = "<!-- family:begin -->", "<!-- family:end -->"
AGAINST = ("scratch", "maml")
PAGE = ROOT / "docs" / "which-algorithm.md"
CSV = ROOT / "benchmarks" / "results" / "family_scores.csv"
COSTS = ROOT / "benchmarks" / "results" / "family.csv"
STROKES, COLOUR = (ROOT / "benchmarks" / f"{name}.toml" for name in ("family", "family-colour"))
SUITES = ("sinusoid", "glyphs", "omniglot", "cifar-fs")


def algorithms() -> tuple[str, ...]:
    """Those of the table. The list stands in one of the two configurations, which have their own seeds and tasks."""
    return read_options(STROKES, {}).algos


def planned() -> tuple[tuple[Trial, ...], dict[str, str]]:
    """Every trial of the table, and the digests of the code as it is now."""
    registry = load_registry()
    both = read_options(STROKES, {}), read_options(COLOUR, {"algos": algorithms()})
    trials = tuple(trial for options in both for trial in plan_trials(options, registry))
    return trials, code_now(registry, trials)


def rows(
    groups: Iterable[Configuration], trials: Iterable[Trial], records: Mapping[str, Record], code: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    """A row an algorithm and suite: its score, what it gains over each of AGAINST, and what is missing.

    More is better. Each interval is of 95% by itself: what is asked is of one algorithm, not which of all is best. A
    gain needs two seeds that both have. Of seeds computed by different code those of today's count.
    """

    def earlier(record: Record) -> bool:
        return bool(changes(record, code_digests(code, record.trial)))

    best: dict[tuple[str, str], Configuration] = {}
    for group in sorted(groups, key=lambda each: (not any(map(earlier, each.scored_records)), len(each.steps))):
        best[group.records[0].trial.suite, group.records[0].trial.algorithm] = group
    for (suite, name), asked in grouped(((trial.suite, trial.algorithm), trial) for trial in trials).items():
        group = best.get((suite, name))
        steps = group.steps if group else {}
        lost = Counter(why_not(records.get(trial.id)) for trial in asked if trial.seed not in steps)
        scored = group.scored_records if group else ()
        row: dict[str, object] = {"suite": suite, "algorithm": name, "metric": group.metric if group else ""}
        row |= {"seeds": len(steps), "asked": len(asked), "lost": told(lost), "earlier": sum(map(earlier, scored))}
        row["commits"] = told(Counter(map(commit, scored)))
        if group and steps:
            row |= of_interval("score", group.score())
            row |= gains(group, {other: best[suite, other] for other in AGAINST if (suite, other) in best})
        yield row


def why_not(record: Record | None) -> str:
    """Why a seed is not counted."""
    return "not run" if record is None else record.status if record.status != "ok" else "of other code"


def commit(record: Record) -> str:
    """Of the checkout that computed it, in seven digits."""
    name, _, dirty = (record.provenance.git or "unknown").partition("-")
    return name[:7] + ("-dirty" if dirty else "")


def told(counts: Counter[str]) -> str:
    """`2 not run, 1 diverged`."""
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


def gains(group: Configuration, others: Mapping[str, Configuration]) -> dict[str, float]:
    """What a configuration gains over others of these names, as columns."""
    row: dict[str, float] = {}
    for name, other in others.items():
        if other is not group and other.suite == group.suite and len(group.final.keys() & other.final.keys()) > 1:
            found = difference(group.final, other.final)
            row |= of_interval(f"over_{name}", found if group.higher_is_better else found.flipped())
    return row


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
    text = minus(f"{value:{'+' if gain else ''}.{1 if points else 2}f} ± {half:.{1 if points else 2}f}")
    return f"**{text}**" if gain and abs(value) > half else text


def table(found: pd.DataFrame) -> str:
    """As Markdown: for each suite a table, best first, and what is not in it."""
    parts = []
    for suite in [name for name in SUITES if name in set(found.suite)]:
        asked = found[found.suite == suite]
        scored = asked[asked.seeds > 0]
        lower = (scored.metric != "accuracy").all()
        what = "squared error" if lower else "accuracy, %"
        if len(scored):
            parts.append(f"\n| `{suite}` | {what} | over `scratch` | over `maml` |\n|---|---:|---:|---:|")
        for _, row in scored.sort_values("score", ascending=lower).iterrows():
            number = f" ({row.seeds}{f' of {row.asked}' * (row.seeds < row.asked)} seeds)" * (row.seeds != row.asked)
            cells = [cell(row, column) for column in ("score", "over_scratch", "over_maml")]
            parts.append(f"| `{row.algorithm}`{number} | {' | '.join(cells)} |")
        parts += ["", *(f"{line}  " for line in remarks(suite, asked))]
    return "\n".join(parts).strip()


def remarks(suite: str, asked: pd.DataFrame) -> Iterator[str]:
    """What a reader should know of the cells of a suite: those that are missing, and by which code the others are."""
    asked = asked[~lost_all(asked, "unfit")]
    absent = asked[lost_all(asked, "not run")]
    if len(absent):
        yield f"`{suite}`, not run yet: {names(absent)}."
    for _, row in asked[(asked.seeds < asked.asked) & ~asked.index.isin(absent.index)].iterrows():
        yield f"`{suite}`, `{row.algorithm}`: {row.lost}."
    if len(old := asked[asked.earlier > 0]):
        yield f"`{suite}`, of code before a later change: {names(old)}."
    commits = Counter[str]()
    for text in asked.commits[asked.commits != ""]:
        commits.update({commit: int(number) for number, commit in (part.split() for part in text.split(", "))})
    if commits:
        yield f"`{suite}`, commits (trials): {', '.join(f'{name} ({number})' for name, number in commits.items())}."


def lost_all(found: pd.DataFrame, why: str) -> pd.Series:
    """Which rows have no score, every trial for this reason."""
    return found.lost == found.asked.astype(str) + f" {why}"


def names(found: pd.DataFrame) -> str:
    """Of the algorithms of these rows."""
    return ", ".join(f"`{name}`" for name in sorted(found.algorithm))


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


def with_kept(found: pd.DataFrame, written: pd.DataFrame) -> pd.DataFrame:
    """The rows found; of which no trial was there, those that were written."""
    keys = ["suite", "algorithm"]
    old, rows = written.set_index(keys), found.set_index(keys)
    kept = old[~lost_all(old, "not run") & old.index.isin(rows.index[lost_all(rows, "not run")])]
    return pd.concat([rows.drop(kept.index), kept]).reindex(rows.index).reset_index()


def read_scores() -> pd.DataFrame:
    """The rows that were written."""
    return pd.read_csv(CSV, keep_default_na=False, na_values={name: [""] for name in NUMBERS})


NUMBERS = [f"{name}{half}" for name in ("score", "over_scratch", "over_maml") for half in ("", "_half")]
COLUMNS = ["suite", "algorithm", "metric", "seeds", "asked", "lost", "earlier", "commits", *NUMBERS]


def main(arguments: Sequence[str]) -> None:
    """Read, write."""
    if list(arguments) == ["--algos"]:
        print(",".join(algorithms()))
        return
    trials, code = planned()
    merged = merge(arguments or [ROOT / "results" / "family"])
    more = (msgspec.structs.replace(trial, seed=trial.seed + 1) for trial in trials)
    ids = {trial.id for trial in (*trials, *more)}
    records = {record.trial.id: record for record in merged.records if record.trial.id in ids}
    found: Any = pd.DataFrame(rows(collect(records.values(), merged.roots), trials, records, code), columns=COLUMNS)
    found = with_kept(found, read_scores())
    found.to_csv(CSV, index=False, float_format="%.6g")
    shown = table(read_scores())
    page = with_costs(PAGE.read_text("utf-8"))
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", "utf-8")
    print(shown)
    if others := len(merged.records) - len(records):
        print(f"{others} trials of other settings are not counted.")
    print(*merged.notes, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
