"""What the page says, as plain data: the model from which every format is rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pandas as pd

from metabench.report import figures, numbers, style
from metabench.report.groups import Group, shortfalls
from metabench.report.labels import slugs, text
from metabench.report.table import summary
from metabench.trials import Record

MANY = 6
"""Distinct provenance values that are written out before the rest is only counted."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """A figure in both formats, with its words."""

    file: str
    title: str
    caption: str
    alternative: str
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Section:
    """One suite."""

    name: str
    slug: str
    rows: Rows
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """Everything."""

    title: str
    line: str
    sections: tuple[Section, ...]
    failures: Rows
    suites: Rows
    settings: Rows
    selections: tuple[str, ...]
    provenance: Rows


def compose(title: str, records: Sequence[Record], groups: Sequence[Group]) -> tuple[Page, pd.DataFrame]:
    """The page, and the summary table that its numbers come from."""
    table = summary(groups)
    looks = style.looks(group.algorithm for group in groups)
    names = slugs(sorted({group.suite for group in groups}))
    sections = tuple(
        section(suite, slug, [group for group in groups if group.suite == suite], table, looks)
        for suite, slug in names.items()
    )
    selections = tuple(sorted({record.selection for record in records if record.selection}))
    page = Page(
        title, headline(records, groups), sections, failed(groups), suites(groups), compared(groups),
        selections, provenance(records),
    )  # fmt: skip
    return page, table


def section(
    suite: str, slug: str, groups: Sequence[Group], table: pd.DataFrame, looks: Mapping[str, style.Look]
) -> Section:
    """One suite: its rows, best first, and its figures in that order."""
    rows = [shown(row) for row in table[table["suite"] == suite].to_dict("records")]
    place = {(row["algorithm"], row["protocol"]): index for index, row in enumerate(rows)}
    drawn = sorted((g for g in groups if g.steps), key=lambda g: place[g.algorithm, g.protocol])
    notes = []
    if any(row["ok"] == 1 for row in rows):
        notes.append("1 seed: interval over tasks only. It does not say how another seed would have scored.")
    if any(row["ok"] == 2 for row in rows):
        notes.append("2 seeds: too few to see how seeds differ; such an interval may cover only 87% instead of 95%.")
    if any(row["ok"] < row["seeds"] for row in rows):
        notes.append("Scores are over the seeds that ended well; the others are listed under failed trials.")
    if len({group.records[0].trial.budget for group in groups}) > 1:
        notes.append("The configurations differ in their budget: see what was compared.")
    return Section(suite, slug, rows, pictures(suite, slug, drawn, looks), tuple(notes))


def pictures(suite: str, slug: str, groups: Sequence[Group], looks: Mapping[str, style.Look]) -> tuple[Picture, ...]:
    """The figures of a suite; none where nothing was scored."""
    found = []
    for kind in figures.KINDS if groups else ():
        with style.drawing(f"{slug}-{kind.name}"):
            figure, words = kind.draw(groups, looks)
            svg, png = style.svg(figure), style.png(figure)
        alternative = f"{kind.title} on {suite}: {words}."
        found.append(Picture(f"{slug}-{kind.name}", kind.title, kind.caption, alternative, svg, png))
    return tuple(found)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the summary table as a reader sees it."""
    metric = row["metric"]
    return {
        "algorithm": row["algorithm"],
        "protocol": row["protocol"],
        "standing": row["standing"],
        "metric": metric,
        "score": numbers.with_interval(row["score"], row["ci95"], metric),
        "behind": numbers.difference(row["behind"], row["behind_ci95"], metric),
        "ok": row["ok"],
        "seeds": row["seeds"],
        "counted": f"{row['ok']}" if row["ok"] == row["seeds"] else f"{row['ok']} of {row['seeds']}",
        "spread": numbers.score(row["seed_sd"], metric),
        "transductive": {True: "yes", False: "no"}.get(row["transductive"], "–"),
        "updates": f"{row['updates']:,}",
        "meta_batch_size": row["meta_batch_size"],
        "test_steps": row["test_steps"],
        "train_seconds": numbers.amount(row["train_seconds"]),
        "adapt_ms": numbers.amount(row["adapt_ms"]),
        "peak_memory_mb": numbers.amount(row["peak_memory_mb"]),
        "precision": row["precision"],
        "strategy": row["strategy"] or "–",
    }


def headline(records: Sequence[Record], groups: Sequence[Group]) -> str:
    """How much was run, in one line."""
    good = len({record.trial.id for group in groups for record in group.counted})
    tasks = sorted({record.trial.budget.test_tasks for record in records})
    each = f"{tasks[0]:,}" if len(tasks) == 1 else f"{tasks[0]:,} to {tasks[-1]:,}"
    seeds = numbers.count(len({record.trial.seed for record in records}), "seed")
    algorithms = numbers.count(len({group.algorithm for group in groups}), "algorithm")
    of_suites = numbers.count(len({group.suite for group in groups}), "suite")
    ended = "all ended well" if good == len(records) else f"{good:,} ended well"
    trials = numbers.count(len(records), "trial")
    return f"{trials} ({ended}): {algorithms} on {of_suites}, {seeds}, {each} test tasks."


def failed(groups: Sequence[Group]) -> Rows:
    """The trials without a score, and why."""
    return [
        {"suite": group.suite, "algorithm": group.algorithm, "seed": record.trial.seed,
         "status": "no scores" if record.status == "ok" else record.status, "reason": reason}
        for group, record, reason in shortfalls(groups)
    ]  # fmt: skip


def suites(groups: Sequence[Group]) -> Rows:
    """Each suite's parameters."""
    found = {group.suite: group.records[0].trial.suite_parameters for group in groups}
    return [{"suite": suite, "parameters": pairs(values)} for suite, values in found.items()]


def compared(groups: Sequence[Group]) -> Rows:
    """Each configuration's parameters and budget."""
    found = {(group.suite, group.algorithm): group.records[0].trial for group in groups}
    return [
        {"suite": suite, "algorithm": algorithm, "parameters": pairs(trial.algorithm_parameters),
         "budget": pairs(msgspec.structs.asdict(trial.budget)), "protocol": trial.protocol}
        for (suite, algorithm), trial in found.items()
    ]  # fmt: skip


def pairs(values: Mapping[str, Any]) -> str:
    """`inner_lr=0.4, inner_steps=1`."""
    return ", ".join(f"{name}={text(value)}" for name, value in values.items()) or "none"


def provenance(records: Iterable[Record]) -> Rows:
    """Each distinct value of each field, with the number of trials that have it where there are several."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for name, value in flat(record.provenance).items():
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    counts.pop("traceback", None)
    rows = {name: distinct(values) for name, values in counts.items()}
    if finished := counts.get("finished"):
        rows["finished"] = f"{min(finished)} to {max(finished)}" if len(finished) > 1 else min(finished)
    return [{"field": name, "values": rows[name]} for name in sorted(rows)]


def distinct(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return next(iter(values))
    listed = [f"{value} ({numbers.count(count, 'trial')})" for value, count in sorted(values.items())[:MANY]]
    return "; ".join(listed) + (f"; and {len(values) - MANY:,} more" if len(values) > MANY else "")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested names joined by dots; values as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, str) else text(value)
    return found
