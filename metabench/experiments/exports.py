"""What a results folder holds, for other programs: tables as files, or told to a tracker."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from metabench.errors import UserError, attempt
from metabench.experiments.trackers import open_tracker
from metabench.experiments.trackers.follow import following
from metabench.records.frames import curve_table, matched, task_table, trial_table
from metabench.records.record import Record

FORMATS = ("csv", "parquet")


def export(root: Path, to: str, out: Path, plugins: tuple[str, ...] = ()) -> int:
    """Write tables or tell a tracker of every trial, below `out`; how many trials. Raises UserError."""
    records = matched(root)
    if not records:
        raise UserError(f"There is no finished trial in '{root}'.")
    if to in FORMATS:
        write_tables(root, records, to, out)
        return len(records)
    with attempt(f"write to '{out}'"), following({to: open_tracker(to, out, plugins, FORMATS)}) as follower:
        for record in records:
            follower.on_record(record)
    if not follower.trackers:
        raise UserError(f"Not all of '{root}' was exported to {to}: see the warning above.")
    return len(records)


def write_tables(root: Path, records: list[Record], to: str, out: Path) -> None:
    """As CSV or parquet: trials, a row each; tasks, a row for each and inner step; curves, one a validation point."""
    if to == "parquet" and not importlib.util.find_spec("pyarrow"):
        raise UserError("Cannot write parquet: pyarrow is not installed: pip install 'metabench[export]'.")
    tables = {"trials": trial_table(records), "tasks": task_table(root, records), "curves": curve_table(records)}
    with attempt(f"write to '{out}'", "Choose another with --out."):
        out.mkdir(parents=True, exist_ok=True)
        for name, frame in tables.items():
            if to == "csv":
                frame.to_csv(out / f"{name}.csv", index=False)
            else:
                frame.to_parquet(out / f"{name}.parquet", index=False)
