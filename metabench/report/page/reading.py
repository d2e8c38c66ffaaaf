"""How to read a report: what its numbers are."""

from __future__ import annotations

from collections.abc import Sequence

from metabench.records.record import Record

READING = (
    ("Interval", "95%, over seeds and test tasks (two-way random effects; docs/statistics.md has its coverage)."),
    ("Behind the best", "How far behind the best, whichever that is: 95% intervals that hold at once in a suite, "
     "after the paired difference where that is shown. ≈, not separated: it includes 0."),
    ("Between seeds", "Three algorithms or more share what their pairs show of the seeds’ variance (Smyth 2004, "
     "doi:10.2202/1544-6115.1027): degrees of freedom that three seeds alone do not have."),
    ("Seed SD", "The standard deviation of the seeds’ mean scores."),
    ("Transductive", "A prediction may use the other query points through BatchNorm; where it says no, each query "
     "point is predicted with the support set alone."),
    ("Tasks seen", "In training, by one seed."),
    ("Inner gradients", "Tasks seen times inner_steps, as far as it has any."),
    ("Selection", "The state that was tested was chosen by validation tasks, never by test tasks{recorded}."),
    ("Timing", "Training counts meta-updates only, without sampling or evaluation; adapting is the median for one "
     "task alone; both with their standard deviation over seeds. Memory is the highest."),
)  # fmt: skip
"""How to read it, in every format: what, and its explanation."""


def reading(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """See READING."""
    selections = ", ".join(sorted({record.selection for record in records if record.selection}))
    recorded = f" (recorded as: {selections})" if selections else ""
    return tuple((name, words.format(recorded=recorded)) for name, words in READING)
