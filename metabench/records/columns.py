"""The one table of columns: what DataFrames, CSV files, the page, report.md, LaTeX and the terminal show of trials.

A new field of the record is one row here, and then stands wherever its `shown` says. A row is of one trial, or of
one configuration, whose trials differ by their seed alone: its value is then made of theirs by `over_seeds`, or is
a statistic of the report (`report.analysis.summary`) where that is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import msgspec

from metabench.records.record import Record

Place = Literal["summary", "page", "report.md", "latex", "terminal", "trials"]
"""`summary` is tables/summary.csv, `trials` the page's list of trials; the others are tables of configurations."""
Format = Literal[
    "text",
    "count",
    "amount",
    "truth",
    "score",
    "difference",
    "behind",
    "part",
    "number",
    "ratio",
    "qualified",
    "explained",
    "timing",
]
"""How a value is written: report.formatting.FORMATS."""
Pooling = Literal["", "same", "mean", "highest", "any", "each"]
"""How a configuration's value is made of its trials': report.analysis.summary.POOLED."""


@dataclass(frozen=True)
class Column:
    """One column. Readers sort by its exact value, whatever is written."""

    name: str
    """Its key in DataFrames and CSV files, which stays as it is."""
    of_trial: Callable[[Record, str], Any] | None = None
    """Its value for a record under a protocol: with it, `load` and tables/trials.csv have it."""
    over_seeds: Pooling = ""
    heading: str = ""
    unit: str = ""
    format: Format = "text"
    beside: str = ""
    """Other columns that are written with it: half of its interval, its ends, the whole that it is a part of."""
    shown: tuple[Place, ...] = ()
    help: str = ""
    """What it is in the DataFrame of `load`, and in which unit."""


def of_record(path: str) -> Callable[[Record, str], Any]:
    """Reads `trial.budget.updates` of a record."""
    read = attrgetter(path)
    return lambda record, protocol: read(record)


def of_test(name: str) -> Callable[[Record, str], Any]:
    """Reads a field of the test under a protocol; None where there was none."""
    return lambda record, protocol: getattr(record.tests.get(protocol), name, None)


def as_text(value: Any) -> str:
    """Parameters as JSON: a dict cannot be grouped by, or written to every file."""
    return msgspec.json.encode(value, order="sorted").decode()


READERS: tuple[Place, ...] = ("summary", "page", "report.md")
PAGE: tuple[Place, ...] = ("summary", "page")
"""Of what report.md has no room for."""
TABLES: tuple[Place, ...] = ("page", "report.md", "terminal")

COLUMNS: tuple[Column, ...] = (
    Column("trial_id", of_record("trial.id"), heading="trial", shown=("trials",),
           help="The folder of the trial's record."),
    Column("suite", of_record("trial.suite"), heading="suite", shown=("summary", "terminal", "trials"),
           help="The suite's name; its parameters are in columns SUITE.PARAMETER."),
    Column("algorithm", of_record("trial.algorithm"), heading="algorithm",
           shown=(*READERS, "latex", "terminal", "trials"),
           help="The algorithm's name; its parameters are in columns ALGORITHM.PARAMETER."),
    Column("protocol", lambda record, protocol: protocol, heading="protocol", shown=("summary", "latex"),
           help="transductive or inductive: a trial tested under both has two rows."),
    Column("seed", of_record("trial.seed"), heading="seed", shown=("trials",),
           help="It decides initial weights and training tasks."),
    Column("status", of_record("status"), heading="status", shown=("trials",),
           help="ok, or how the trial ended otherwise: error, timeout, diverged, unfit ..."),
    Column("reason", of_record("reason"),
           help="Why it did not end well."),
    Column("metric", of_record("metric"), heading="metric", shown=("summary", "terminal"),
           help="The name of the score: the suite's first metric."),
    Column("higher_is_better", of_record("higher_is_better"), shown=("summary",),
           help="Whether a higher score is a better one."),
    Column("score", of_test("score"), heading="{metric}", unit="mean ± 95%", format="score", beside="ci95",
           shown=(*READERS, "latex", "terminal", "trials"),
           help="Mean over the test tasks after the last inner step."),
    Column("ci95", of_test("ci95"), format="number", shown=("summary",),
           help="Half the width of its 95% interval over test tasks, at this seed."),
    Column("low", format="number", shown=("summary",)),
    Column("high", format="number", shown=("summary",)),
    Column("degrees_of_freedom", format="number", shown=("summary",)),
    Column("standing", heading="verdict", shown=("summary", "terminal")),
    Column("behind", heading="behind the best", unit="all at 95%", format="behind", beside="behind_low behind_high",
           shown=(*READERS, "latex")),
    Column("behind_low", format="number", shown=("summary",)),
    Column("behind_high", format="number", shown=("summary",)),
    Column("behind_p", format="number", shown=("summary",)),
    Column("ok", heading="seeds", format="part", beside="seeds", shown=(*READERS, "latex", "terminal")),
    Column("seeds", shown=("summary",)),
    Column("test_tasks", of_record("trial.budget.test_tasks"), shown=("summary",),
           help="How many tasks it was tested on."),
    Column("seed_sd", heading="seed SD", format="score", shown=PAGE),
    Column("transductive", of_test("transductive"), "any", "transductive", format="truth",
           shown=(*PAGE, "terminal"),
           help="Whether a prediction depended on the other query points, as measured."),
    Column("updates", of_record("trial.budget.updates"), heading="updates", format="count", shown=PAGE,
           help="Meta-updates that were asked for."),
    Column("meta_batch_size", of_record("trial.budget.meta_batch_size"), "same", "meta-batch", format="count",
           shown=("summary",),
           help="Tasks in each meta-update."),
    Column("tasks_seen", heading="tasks seen", format="count", shown=READERS),
    Column("inner_gradients", heading="inner gradients", format="count", shown=PAGE),
    Column("test_steps", of_record("trial.budget.test_steps"), "same", "test steps", format="count", shown=PAGE,
           help="Inner steps on each validation and test task."),
    Column("selection", of_record("selection"),
           help="Which state was tested: the best on validation, the last, or the initial one."),
    Column("selected_update", of_record("selected_update"),
           help="The meta-update after which that state was."),
    Column("train_seconds", of_record("train_seconds"), "mean", "train", "s ± SD", "timing", "train_sd",
           shown=(*READERS, "terminal", "trials"),
           help="Meta-updates alone, without sampling, validation or test."),
    Column("train_sd", format="number", shown=("summary",)),
    Column("sample_seconds", of_record("sample_seconds"),
           help="Drawing training tasks."),
    Column("prepare_seconds", of_record("prepare_seconds"),
           help="Choosing a strategy, and compiling."),
    Column("validation_seconds", of_record("validation_seconds"),
           help="Validating."),
    Column("checkpoint_seconds", of_record("checkpoint_seconds"),
           help="Writing checkpoints."),
    Column("test_seconds", of_record("test_seconds"),
           help="Testing."),
    Column("adapt_ms", of_record("adapt_ms"), "mean", "adapt", "ms/task ± SD", "timing", "adapt_sd",
           shown=(*PAGE, "terminal", "trials"),
           help="Milliseconds to adapt to one task alone, the median."),
    Column("adapt_sd", format="number", shown=("summary",)),
    Column("peak_memory_mb", of_record("peak_memory_mb"), "highest", "memory", "peak MB", "amount",
           shown=(*PAGE, "terminal", "trials"),
           help="The most memory in use: of the process, or on a GPU."),
    Column("precision", of_record("trial.precision"), "same", "precision", shown=(*PAGE, "terminal"),
           help="float32, bf16 or float64."),
    Column("strategy", of_record("strategy"), "each", "strategy", shown=(*PAGE, "terminal"),
           help="How tasks were batched: vectorised, compiled or threaded."),
    Column("device", of_record("provenance.device"),
           help="What computed it."),
    Column("algorithm_parameters", lambda record, protocol: as_text(record.trial.algorithm_parameters),
           help="All parameters of the algorithm, as JSON."),
    Column("suite_parameters", lambda record, protocol: as_text(record.trial.suite_parameters),
           help="All parameters of the suite, as JSON."),
    Column("digests", lambda record, protocol: record.provenance.digests.text,
           help="Of code, data and first test tasks: where they differ, trials do not match."),
)  # fmt: skip
"""In the order in which readers see them."""

PUBLISHED: tuple[Column, ...] = (
    Column("suite", heading="suite", shown=TABLES),
    Column("algorithm", heading="algorithm", format="qualified", beside="protocol", shown=TABLES),
    Column("test_steps", heading="steps", shown=TABLES),
    Column("score", heading="ours", format="score", beside="ci95", shown=TABLES),
    Column("published", heading="published", format="score", beside="published_half", shown=TABLES),
    Column("gap", heading="gap", format="difference", beside="gap_ci95", shown=TABLES),
    Column("verdict", heading="verdict", format="explained", beside="reason", shown=TABLES),
    Column("differences", heading="differences", shown=TABLES),
    Column("source", heading="source", shown=("page", "report.md")),
    Column("effects", heading="effects"),
    Column("note", heading="note"),
)
"""What readers see of `report.published.Beside`; the page folds what is shown nowhere into the source."""

TRANSFER: tuple[Column, ...] = (
    Column("suite", heading="suite"),
    Column("against", heading="beside"),
    Column("algorithm", heading="algorithm", format="qualified", beside="protocol"),
    Column("near", heading="in domain", format="score", beside="near_ci95"),
    Column("far", heading="crossed", format="score", beside="far_ci95"),
    Column("gap", heading="gap", format="difference", beside="gap_ci95"),
    Column("cohens_d", heading="Cohen’s d", format="amount"),
    Column("selection", heading="chosen by"),
)
"""What readers see of `report.analysis.transfer.Gap`."""

COMPARISON: tuple[Column, ...] = (
    Column("suite", heading="suite"),
    Column("algorithm", heading="algorithm"),
    Column("before", heading="before", format="score", beside="before_ci95"),
    Column("after", heading="after", format="score", beside="after_ci95"),
    Column("difference", heading="difference", format="difference", beside="difference_ci95"),
    Column("verdict", heading="verdict", format="explained", beside="why"),
    Column("seeds", heading="seeds"),
    Column("time_ratio", heading="time", format="ratio"),
    Column("validation", heading="validation"),
)
"""What readers see of `report.compare.verdicts.Change`."""

ORDER_OF_TRIALS = (
    "trial_id algorithm suite seed status reason metric score ci95 transductive protocol precision updates "
    "meta_batch_size test_steps test_tasks selection selected_update train_seconds sample_seconds "
    "prepare_seconds validation_seconds checkpoint_seconds test_seconds adapt_ms peak_memory_mb strategy device "
    "higher_is_better algorithm_parameters suite_parameters"
).split()
ORDER_OF_SUMMARY = (
    "suite algorithm protocol metric higher_is_better score ci95 low high degrees_of_freedom seeds ok test_tasks "
    "seed_sd standing behind behind_low behind_high behind_p transductive updates meta_batch_size test_steps "
    "train_seconds adapt_ms peak_memory_mb precision strategy"
).split()
"""The order that files had before there was this table, and keep. Nothing is added: a new column comes last."""


def of_trials(columns: Iterable[Column] = COLUMNS) -> list[Column]:
    """Those of `load` and tables/trials.csv, in their order."""
    return ordered((column for column in columns if column.of_trial), ORDER_OF_TRIALS)


def of_summary(columns: Iterable[Column] = COLUMNS) -> list[Column]:
    """Those of tables/summary.csv, in their order."""
    return ordered(shown_in("summary", columns), ORDER_OF_SUMMARY)


def shown_in(place: Place, columns: Iterable[Column] = COLUMNS) -> list[Column]:
    """Those that a table for readers has."""
    return [column for column in columns if place in column.shown]


def ordered(columns: Iterable[Column], names: list[str]) -> list[Column]:
    return sorted(columns, key=lambda column: names.index(column.name) if column.name in names else len(names))


def trial_values(record: Record, protocol: str, columns: Iterable[Column]) -> dict[str, Any]:
    """By name: the values of those that a trial has."""
    return {column.name: column.of_trial(record, protocol) for column in columns if column.of_trial}
