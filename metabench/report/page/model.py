"""What the page says, as plain data: the model from which every format is rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from metabench.records.columns import Column
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.analysis import cards, findings, transfer
from metabench.report.analysis.cards import Card
from metabench.report.analysis.pairs import best_first, contests
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import slugs
from metabench.report.figures import style
from metabench.report.figures.catalogue import Job, Picture, draw
from metabench.report.page.matrices import Rows, Versus, against
from metabench.report.published import Beside

SHOWN = "1"
"""What the section of a figure begins with if the page shows it at once; others are folded."""
ALWAYS = ("algorithm", "score", "standing", "behind")
"""Columns that stay though all their values are the same."""


class Entry(NamedTuple):
    """An algorithm in the legend of a suite."""

    name: str
    look: style.Look
    strong: bool
    """Whether it is drawn strong before it is asked for."""


@dataclass(frozen=True)
class Section:
    """One suite."""

    name: str
    slug: str
    card: Card | None
    """None where nothing was scored."""
    open: tuple[dict[str, str], ...]
    """See Findings."""
    versus: tuple[Versus, ...]
    metric: str
    arrow: str
    """Which way is better."""
    rows: Rows
    """Of the summary table, exact, best first."""
    legend: tuple[Entry, ...]
    """Each algorithm that was scored."""
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]

    def split(self, columns: Sequence[Column], but: int = 0) -> tuple[list[Column], list[tuple[str, str]]]:
        """The columns in which rows differ, and what is alike in all, or in all but so many: heading and text."""
        columns = [c for c in columns if c.name != "behind" or len(self.rows) > 1]  # a lone row is behind nobody
        differ, alike = [], []
        for column in columns:
            values = [formatting.text(column, row) for row in self.rows]
            (usual, count), *_ = Counter(values).most_common(1)
            if column.name in ALWAYS or len(values) < 2 or count < len(values) - but:
                differ.append(column)
            elif others := [f"{row['algorithm']} {v}" for row, v in zip(self.rows, values) if v != usual]:
                alike.append((formatting.heading(column, self.metric), f"{usual} (but {', '.join(others)})"))
            elif usual != "–":
                alike.append((formatting.heading(column, self.metric), usual))
        return differ, alike

    @property
    def shown(self) -> list[Picture]:
        return [picture for picture in self.pictures if picture.section.startswith(SHOWN)]

    @property
    def folded(self) -> list[Picture]:
        return [picture for picture in self.pictures if not picture.section.startswith(SHOWN)]


@dataclass(frozen=True)
class Page:
    """Everything."""

    title: str
    line: str
    command: str
    """What makes this report, and each of its figures and tables, again."""
    overall: tuple[str, ...]
    """Of all suites together."""
    cautions: tuple[str, ...]
    """What speaks against a comparison."""
    left_out: tuple[str, ...]
    """Pairs of algorithm and suite that do not fit."""
    mixtures: tuple[str, ...]
    """What is not the same in where records come from."""
    columns: tuple[Column, ...]
    """Of the sections' rows, and of the trials."""
    sections: tuple[Section, ...]
    reading: tuple[tuple[str, str], ...]
    transfer: Rows
    """The transfer gap of what was trained on one suite and tested on another."""
    beside: tuple[Beside, ...]
    """Our numbers beside published ones."""
    failures: Rows
    suites: Rows
    settings: Rows
    tuning: Rows
    """Who was tuned, one row per suite; none where nobody was."""
    provenance: Rows
    matrix: Rows
    """A row an algorithm, best first: its rows of the summary by suite."""
    trials: str
    """Every trial with its details, as JSON."""
    tables: tuple[str, ...]
    """What there is in tables/ as CSV."""
    formats: tuple[str, ...]
    """What there is in figures/ of each figure."""

    @property
    def captions(self) -> dict[str, str]:
        """Of the figures that are shown at once, by title: what they show on whatever suite."""
        return {picture.title: picture.caption for section in self.sections for picture in section.shown}


def sections(
    groups: Sequence[Configuration],
    table: pd.DataFrame,
    gaps: Sequence[transfer.Gap],
    formats: tuple[str, ...],
    dress: style.Dress,
) -> tuple[Section, ...]:
    """Every suite, from the summary table, best first, and its figures in that order."""
    looks = style.looks(group.algorithm for group in groups)
    by_suite = grouped((group.suite, group) for group in best_first(groups))
    jobs = [
        Job(suite, slug, scored(by_suite[suite]), looks, formats, dress, transfer.counterparts(suite, gaps))
        for suite, slug in slugs(by_suite).items()
    ]
    return tuple(section(job, by_suite[job.suite], table, drawn) for job, drawn in zip(jobs, draw(jobs)))


def contested(table: pd.DataFrame) -> pd.DataFrame:
    """The summary table as a page shows it: what is alone is not the best of anything."""
    rivals = table.groupby(["suite", "protocol"])["score"].transform("count")
    return table.assign(standing=table["standing"].where(rivals > 1, ""))


def scored(groups: Sequence[Configuration]) -> list[Configuration]:
    return [group for group in groups if group.steps]


def section(job: Job, groups: Sequence[Configuration], table: pd.DataFrame, pictures: tuple[Picture, ...]) -> Section:
    """One suite."""
    rows = table[table["suite"] == job.suite].to_dict("records")
    metric = next((row["metric"] for row in rows if row["metric"]), "")
    notes = []
    if any(row["ok"] == 1 for row in rows):
        notes.append("1 seed: interval over tasks only.")
    if few := max((record.distinct_tasks for group in groups for record in group.records), default=0):
        notes.append(
            f"There are {few} tasks in all, the same in training and test: an interval over tasks says nothing of "
            "others. Compare by seeds."
        )
    if any(row["ok"] < row["seeds"] for row in rows):
        notes.append("Scores are over the seeds that did not fail; the others are listed under failed trials.")
    here = dict.fromkeys(group.algorithm for group in job.groups)
    strong = style.strong(job.groups)
    legend = tuple(Entry(name, job.looks[name], name in strong) for name in here)
    several = contests(job.groups)
    versus = tuple(against(protocol if len(several) > 1 else "", of) for (_, protocol), of in several.items())
    found = findings.findings(job.groups)
    return Section(
        job.suite, job.slug, cards.card(groups, found) if job.groups else None, found.open, versus,
        metric, "↑" if any(group.higher_is_better for group in groups) else "↓", rows, legend, pictures,
        (*notes, *found.basis),
    )  # fmt: skip


def headline(records: Sequence[Record], groups: Sequence[Configuration]) -> str:
    """How much was run, in one line."""
    good = len({record.trial.id for group in groups for record in group.scored_records})
    of_tasks = formatting.span([record.trial.budget.test_tasks for record in records])
    seeds = formatting.count(len({record.trial.seed for record in records}), "seed")
    algorithms = formatting.count(len({group.algorithm for group in groups}), "algorithm")
    of_suites = formatting.count(len({group.suite for group in groups}), "suite")
    ended = "all ok" if good == len(records) else f"{good:,} ok"
    trials = formatting.count(len(records), "trial")
    return f"{trials} ({ended}): {algorithms} on {of_suites}, {seeds}, {of_tasks} test tasks."
