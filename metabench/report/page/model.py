"""What the page says, as plain data: the model from which every format is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.analysis import findings
from metabench.report.analysis.summary import summary
from metabench.report.collect import tuning as tuned
from metabench.report.collect.configurations import Configuration, shortfalls
from metabench.report.collect.labels import labels, pairs, slugs
from metabench.report.collect.provenance import provenance
from metabench.report.figures import parallel, style
from metabench.report.figures.catalogue import Picture
from metabench.report.page import trial_details

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """One suite."""

    name: str
    slug: str
    findings: findings.Findings
    rows: Rows
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
    sections: tuple[Section, ...]
    published: Rows
    failures: Rows
    suites: Rows
    settings: Rows
    selections: tuple[str, ...]
    tuning: Rows
    """Who was tuned, a row a suite; none where nobody was."""
    provenance: Rows
    trials: str
    """Every trial with its details, as JSON."""
    tables: tuple[str, ...] = ("summary", "trials")
    """What there is in tables/ as CSV."""


def compose(title: str, records: Sequence[Record], groups: Sequence[Configuration]) -> tuple[Page, pd.DataFrame]:
    """The page, and the summary table that its numbers come from."""
    table = summary(groups)
    looks = style.looks(group.algorithm for group in groups)
    names = slugs(sorted({group.suite for group in groups}))
    jobs = [parallel.Job(suite, slug, ranked(suite, groups, table), looks) for suite, slug in names.items()]
    sections = tuple(
        section(job, [group for group in groups if group.suite == job.suite], table, drawn)
        for job, drawn in zip(jobs, parallel.draw(jobs))
    )
    selections = tuple(sorted({record.selection for record in records if record.selection}))
    page = Page(
        title=title,
        line=headline(records, groups),
        command="metabench report",
        findings=tuple(findings.across(groups)),
        sections=sections,
        published=[],
        failures=failed(groups),
        suites=suites(groups),
        settings=compared(groups),
        selections=selections,
        tuning=tuned.lines(groups),
        provenance=provenance(records),
        trials=trial_details.encoded(records, labels(records)),
    )
    return page, table


def ranked(suite: str, groups: Sequence[Configuration], table: pd.DataFrame) -> list[Configuration]:
    """The groups of a suite that were scored, best first."""
    place = {(row.suite, row.algorithm, row.protocol): row.Index for row in table.itertuples()}
    scored = (group for group in groups if group.suite == suite and group.steps)
    return sorted(scored, key=lambda group: place[suite, group.algorithm, group.protocol])


def section(
    job: parallel.Job, groups: Sequence[Configuration], table: pd.DataFrame, pictures: tuple[Picture, ...]
) -> Section:
    """One suite: its rows, best first, and its figures in that order."""
    rows = [shown(row) for row in table[table["suite"] == job.suite].to_dict("records")]
    notes = []
    if any(row["ok"] == 1 for row in rows):
        notes.append("1 seed: interval over tasks only. It does not say how another seed would have scored.")
    if any(row["ok"] == 2 for row in rows):
        notes.append("2 seeds: too few to see how seeds differ; such an interval may cover only 90% instead of 95%.")
    if any(row["ok"] < row["seeds"] for row in rows):
        notes.append("Scores are over the seeds that ended well; the others are listed under failed trials.")
    if len({group.records[0].trial.budget for group in groups}) > 1:
        notes.append("The configurations differ in their budget: see what was compared.")
    numbered = {name: index for index, name in enumerate(job.looks)}
    here = dict.fromkeys(group.algorithm for group in job.groups)
    legend = tuple((numbered[name], name, job.looks[name].color) for name in here)
    return Section(job.suite, job.slug, findings.findings(job.groups), rows, legend, pictures, tuple(notes))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the summary table as a reader sees it."""
    metric = row["metric"]
    return {
        "algorithm": row["algorithm"],
        "protocol": row["protocol"],
        "standing": row["standing"],
        "metric": metric,
        "score": formatting.with_interval(row["score"], row["ci95"], metric),
        "behind": formatting.difference(row["behind"], row["behind_ci95"], metric),
        "ok": row["ok"],
        "seeds": row["seeds"],
        "counted": f"{row['ok']}" if row["ok"] == row["seeds"] else f"{row['ok']} of {row['seeds']}",
        "spread": formatting.score(row["seed_sd"], metric),
        "transductive": {True: "yes", False: "no"}.get(row["transductive"], "–"),
        "updates": f"{row['updates']:,}",
        "meta_batch_size": row["meta_batch_size"],
        "test_steps": row["test_steps"],
        "train_seconds": formatting.amount(row["train_seconds"]),
        "adapt_ms": formatting.amount(row["adapt_ms"]),
        "peak_memory_mb": formatting.amount(row["peak_memory_mb"]),
        "precision": row["precision"],
        "strategy": row["strategy"] or "–",
        "exact": row,
    }


def headline(records: Sequence[Record], groups: Sequence[Configuration]) -> str:
    """How much was run, in one line."""
    good = len({record.trial.id for group in groups for record in group.scored_records})
    tasks = sorted({record.trial.budget.test_tasks for record in records})
    each = f"{tasks[0]:,}" if len(tasks) == 1 else f"{tasks[0]:,} to {tasks[-1]:,}"
    seeds = formatting.count(len({record.trial.seed for record in records}), "seed")
    algorithms = formatting.count(len({group.algorithm for group in groups}), "algorithm")
    of_suites = formatting.count(len({group.suite for group in groups}), "suite")
    ended = "all ended well" if good == len(records) else f"{good:,} ended well"
    trials = formatting.count(len(records), "trial")
    return f"{trials} ({ended}): {algorithms} on {of_suites}, {seeds}, {each} test tasks."


def failed(groups: Sequence[Configuration]) -> Rows:
    """The trials without a score, and why."""
    return [
        {"suite": group.suite, "algorithm": group.algorithm, "seed": record.trial.seed,
         "status": "no scores" if record.status == "ok" else record.status, "reason": reason}
        for group, record, reason in shortfalls(groups)
    ]  # fmt: skip


def suites(groups: Sequence[Configuration]) -> Rows:
    """Each suite's parameters."""
    found = {group.suite: group.records[0].trial for group in groups}
    return [{"suite": suite, "parameters": pairs(trial.settings("suite"))} for suite, trial in found.items()]


def compared(groups: Sequence[Configuration]) -> Rows:
    """Each configuration's parameters, and the settings of its trials: budget, protocol, precision, tuning."""
    found = {(group.suite, group.algorithm): group.records[0].trial for group in groups}
    return [
        {"suite": suite, "algorithm": algorithm, "parameters": pairs(trial.settings("algorithm")),
         "settings": pairs(trial.settings("trial"))}
        for (suite, algorithm), trial in found.items()
    ]  # fmt: skip
