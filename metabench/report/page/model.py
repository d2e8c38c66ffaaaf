"""What the page says, as plain data: the model from which every format is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from metabench.records.columns import Column
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.analysis import findings, transfer
from metabench.report.analysis.pairs import best_first
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, shortfalls
from metabench.report.collect.labels import pairs, slugs
from metabench.report.figures import style
from metabench.report.figures.catalogue import Job, Picture, draw

Rows = list[dict[str, Any]]

READING = (
    ("Interval", "Mean ± half of its 95% interval over seeds and test tasks (two-way random effects; "
     "docs/statistics.md has its coverage)."),
    ("Behind the best", "The paired difference to the best mean, and the 95% interval of how far it is behind the "
     "best, whichever that is; all intervals of a suite hold at once. Not separated: it includes 0."),
    ("Seed SD", "The standard deviation of the seeds’ mean scores."),
    ("Transductive", "A prediction may use the other query points through BatchNorm; where it says no, each query "
     "point is predicted with the support set alone."),
    ("Selection", "The state that was tested was chosen by validation tasks, never by test tasks{recorded}."),
    ("Timing", "Training counts meta-updates only, without sampling or evaluation; adapting is the median for one "
     "task alone; times are means over seeds, memory is the highest."),
)  # fmt: skip
"""How to read it, in every format: what, and its explanation."""


@dataclass(frozen=True)
class Section:
    """One suite."""

    name: str
    slug: str
    findings: findings.Findings
    metric: str
    rows: Rows
    """Of the summary table, exact, best first."""
    legend: tuple[tuple[int, str, str], ...]
    """Of each algorithm that was scored: the number of its marks, its label and its color."""
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """Everything."""

    title: str
    line: str
    command: str
    """What makes this report, and each of its figures and tables, again."""
    findings: tuple[str, ...]
    columns: tuple[Column, ...]
    """Of the sections' rows, and of the trials."""
    sections: tuple[Section, ...]
    reading: tuple[tuple[str, str], ...]
    transfer: Rows
    """The transfer gap of what was trained on one suite and tested on another."""
    published: Rows
    failures: Rows
    suites: Rows
    settings: Rows
    tuning: Rows
    """Who was tuned, one row per suite; none where nobody was."""
    provenance: Rows
    trials: str
    """Every trial with its details, as JSON."""
    tables: tuple[str, ...]
    """What there is in tables/ as CSV."""
    formats: tuple[str, ...]
    """What there is in figures/ of each figure."""


def sections(groups: Sequence[Configuration], table: pd.DataFrame, formats: tuple[str, ...]) -> tuple[Section, ...]:
    """Every suite, from the summary table, best first, and its figures in that order."""
    looks = style.looks(group.algorithm for group in groups)
    by_suite = grouped((group.suite, group) for group in best_first(groups))
    jobs = [
        Job(suite, slug, scored(by_suite[suite]), looks, formats, transfer.counterparts(suite, groups))
        for suite, slug in slugs(by_suite).items()
    ]
    return tuple(section(job, by_suite[job.suite], table, drawn) for job, drawn in zip(jobs, draw(jobs)))


def scored(groups: Sequence[Configuration]) -> list[Configuration]:
    return [group for group in groups if group.steps]


def reading(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """See READING."""
    selections = ", ".join(sorted({record.selection for record in records if record.selection}))
    recorded = f" (recorded as: {selections})" if selections else ""
    return tuple((name, words.format(recorded=recorded)) for name, words in READING)


def section(job: Job, groups: Sequence[Configuration], table: pd.DataFrame, pictures: tuple[Picture, ...]) -> Section:
    """One suite."""
    rows = table[table["suite"] == job.suite].to_dict("records")
    metric = next((row["metric"] for row in rows if row["metric"]), "")
    notes = []
    if any(row["ok"] == 1 for row in rows):
        notes.append("1 seed: interval over tasks only. It does not say how another seed would have scored.")
    if any(row["ok"] == 2 for row in rows):
        notes.append("2 seeds: too few to see how seeds differ; such an interval may cover only 90% instead of 95%.")
    if few := max((record.distinct_tasks for group in groups for record in group.records), default=0):
        notes.append(
            f"There are {few} tasks in all, the same in training and test: an interval over tasks says nothing of "
            "others. Compare by seeds."
        )
    if any(row["ok"] < row["seeds"] for row in rows):
        notes.append("Scores are over the seeds that did not fail; the others are listed under failed trials.")
    if len({group.records[0].trial.budget for group in groups}) > 1:
        notes.append("The configurations differ in their budget: see what was compared.")
    numbered = {name: index for index, name in enumerate(job.looks)}
    here = dict.fromkeys(group.algorithm for group in job.groups)
    legend = tuple((numbered[name], name, job.looks[name].color) for name in here)
    said = findings.findings(job.groups)
    return Section(job.suite, job.slug, said, metric, rows, legend, pictures, tuple(notes))


def headline(records: Sequence[Record], groups: Sequence[Configuration]) -> str:
    """How much was run, in one line."""
    good = len({record.trial.id for group in groups for record in group.scored_records})
    tasks = sorted({record.trial.budget.test_tasks for record in records})
    of_tasks = f"{tasks[0]:,}" if len(tasks) == 1 else f"{tasks[0]:,} to {tasks[-1]:,}"
    seeds = formatting.count(len({record.trial.seed for record in records}), "seed")
    algorithms = formatting.count(len({group.algorithm for group in groups}), "algorithm")
    of_suites = formatting.count(len({group.suite for group in groups}), "suite")
    ended = "all ok" if good == len(records) else f"{good:,} ok"
    trials = formatting.count(len(records), "trial")
    return f"{trials} ({ended}): {algorithms} on {of_suites}, {seeds}, {of_tasks} test tasks."


def failed(groups: Sequence[Configuration]) -> Rows:
    """The trials without a score, and why."""
    return [
        {"suite": group.suite, "algorithm": group.algorithm, "seed": record.trial.seed,
         "status": "no scores" if record.status == "ok" else record.status, "reason": reason}
        for group, record, reason in shortfalls(groups)
    ]  # fmt: skip


def suites(groups: Sequence[Configuration]) -> Rows:
    """Each suite's parameters."""
    trials = {group.suite: group.records[0].trial for group in groups}
    return [{"suite": suite, "parameters": pairs(trial.settings("suite"))} for suite, trial in trials.items()]


def compared(groups: Sequence[Configuration]) -> Rows:
    """Each configuration's parameters, and the settings of its trials: budget, protocol, precision, tuning."""
    trials = {(group.suite, group.algorithm): group.records[0].trial for group in groups}
    return [
        {"suite": suite, "algorithm": algorithm, "parameters": pairs(trial.settings("algorithm")),
         "settings": pairs(trial.settings("trial"))}
        for (suite, algorithm), trial in trials.items()
    ]  # fmt: skip
