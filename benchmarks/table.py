"""The results as rows: a CSV file, tables on the terminal, Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.contest import Result

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PEERS = ("learn2learn", "PyTorch loop")
"""Whose update is 1 in the column `ratio to peer`: the first of them that does the work."""
AIMS = {
    ("sinusoid", "maml"): 1 / 30,
    ("omniglot-5w1s", "maml"): 0.40,
    ("omniglot-5w1s", "fomaml"): 0.45,
    ("omniglot-5w1s-5steps", "maml"): 0.50,
    ("omniglot-20w5s", "maml"): 0.50,
    ("miniimagenet-5w1s", "maml"): 0.35,
}
"""The project's own, of metabench's quickest strategy to learn2learn."""
WIDE = 0.1
"""Of the median, between the quartiles: from there on a figure says little, and a row says so."""

SHOWN = {
    "contender": "contender",
    "gradient": "gradient error",
    "update_ms": "update ms (quartiles)",
    "ratio_to_peer": "ratio to peer",
    "ratio_to_floor": "ratio to floor",
    "ratio_to_memory_floor": "to memory floor",
    "tasks_per_second": "tasks/s",
    "first_update_s": "first update s",
    "peak_mb": "peak MB",
    "tensors_mb": "tensors MB",
    "adapt_ms": "adapt ms",
    "threads": "threads",
}
"""Columns of the readable tables and what they are called there."""


Floors = dict[str, dict[int, tuple[float, float]]]
"""Seconds of arithmetic and of memory, by the workload's id and the number of threads."""


def frame(results: Iterable[Result], floors: Floors, machine: dict[str, Any]) -> pd.DataFrame:
    """A row a contender and workload, beside the floors for its threads. No figure: NaN and a note."""
    results = list(results)
    rows = []
    for result in results:
        workload, median = result.workload, result.median
        peer = peer_of([other for other in results if other.workload == workload])
        known = floors.get(workload.id, {})
        floor, memory_floor = known.get(result.threads or 0) or known.get(max(known, default=0)) or (None, None)
        row: dict[str, Any] = {
            "workload": workload.name,
            "algorithm": workload.algorithm,
            "contender": result.contender,
            "check": result.check,
            "gradient_error": result.error,
            "first_update_s": result.first,
            "update_ms": scaled(median, 1e3),
            "update_ms_q1": scaled(result.quartile(0.25), 1e3),
            "update_ms_q3": scaled(result.quartile(0.75), 1e3),
            "repeats": len(result.updates),
            "tasks_per_second": workload.tasks / median if median else None,
            "peer": peer.contender if peer else "",
            "ratio_to_peer": ratio(median, peer.median if peer else None),
            "floor_ms": scaled(floor, 1e3),
            "ratio_to_floor": ratio(median, floor),
            "memory_floor_ms": scaled(memory_floor, 1e3),
            "ratio_to_memory_floor": ratio(median, memory_floor),
            "alone_ms": scaled(result.alone, 1e3),
            "peak_mb": result.memory,
            "tensors_mb": result.tensors,
            "adapt_ms": scaled(result.adapt, 1e3),
            "threads": result.threads,
            "note": result.note,
        }
        rows.append(row | machine)
    return pd.DataFrame(rows)


def peer_of(results: list[Result]) -> Result | None:
    """Whom the contenders of one workload are compared with."""
    timed = {result.contender: result for result in results if result.updates}
    return next((timed[name] for name in PEERS if name in timed), None)


def scaled(value: float | None, factor: float) -> float | None:
    """The product, or nothing of nothing."""
    return None if value is None else value * factor


def ratio(value: float | None, other: float | None) -> float | None:
    """The quotient, or nothing where either is missing."""
    return value / other if value and other else None


def readable(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of one workload's table; a contender without figures has its note in the second column."""
    cells = []
    for row in rows.to_dict("records"):
        if not row["repeats"]:
            cells.append(
                [row["contender"], " ".join(filter(None, (row["check"], row["note"]))), *[""] * (len(SHOWN) - 2)]
            )
            continue
        spread = f"{digits(row['update_ms'])} ({digits(row['update_ms_q1'])}–{digits(row['update_ms_q3'])})"
        spread += " ±" * (row["update_ms_q3"] - row["update_ms_q1"] > WIDE * row["update_ms"])
        rest = [digits(row[name]) for name in list(SHOWN)[3:]]
        cells.append([row["contender"], f"{row['gradient_error']:.0e}", spread, *rest])
    return list(SHOWN.values()), cells


def digits(value: Any) -> str:
    """Three significant digits, without an exponent; nothing for NaN."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def headline(rows: pd.DataFrame) -> str:
    """What a table is about."""
    first = rows.iloc[0]
    peer = f"; ratio to {first['peer']}" if first["peer"] else ""
    floors = [digits(rows[name].min()) for name in ("floor_ms", "memory_floor_ms")]
    return (
        f"{first['workload']}, {first['algorithm']}{peer}; floors {floors[0]} ms of arithmetic, {floors[1]} of memory"
    )


def groups(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each workload, in their order."""
    return [rows for _, rows in table.groupby(["workload", "algorithm"], sort=False)]


def show(table: pd.DataFrame, console: Console) -> None:
    """Print a table a workload."""
    for rows in groups(table):
        headings, cells = readable(rows)
        shown = Table(title=headline(rows), title_justify="left")
        for number, heading in enumerate(headings):
            shown.add_column(heading, justify="left" if number < 2 else "right", overflow="fold")
        for line in cells:
            shown.add_row(*map(Text, line))
        console.print(shown)


def markdown(table: pd.DataFrame) -> str:
    """The same as Markdown, after a line about the machine."""
    first = table.iloc[0]
    about = (
        f"{first['cpu']}, {first['cores']} cores, torch {first['torch']}, sgemm {digits(first['sgemm_gflops'])} "
        f"GFLOP/s, {first['date']}. Times are medians with quartiles; *peak MB* is resident memory above that before "
        "the contender was made, *tensors MB* what torch itself had allocated at an update's peak on one thread; "
        "*first update* includes making it, and compiling what is not on disk yet. Floors are those of a row's own "
        f"number of threads. ± stands where the quartiles are more than {100 * WIDE:.0f}% of the median apart."
    )
    parts = [about]
    for rows in groups(table):
        headings, cells = readable(rows)
        rule = ["---", "---", *["---:"] * (len(headings) - 2)]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [headings, rule, *cells]
        ]
        parts += [f"### {headline(rows)}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def summary(table: pd.DataFrame) -> str:
    """A row a workload: metabench's quickest strategy beside its peer."""
    first = table.iloc[0]
    headings = [
        "work", "metabench", "update ms", "peer's ms (alone)", "ratio", "aim", "to floor", "tensors MB, both",
        "peak MB, both", "one task, ratio",
    ]  # fmt: skip
    lines = [headings, ["---", "---", *["---:"] * (len(headings) - 2)]]
    for rows in groups(table):
        ours = rows[rows["contender"].str.startswith("metabench") & (rows["repeats"] > 0)]
        peers = rows[(rows["contender"] == rows["peer"]) & (rows["repeats"] > 0)]
        if len(ours) and len(peers):
            lines.append(compared(ours.loc[ours["update_ms"].idxmin()], peers.iloc[0]))
    about = (
        f"{first['cpu']}, {first['cores']} cores, torch {first['torch']}, sgemm {digits(first['sgemm_gflops'])} "
        f"GFLOP/s, {first['date']}. All contenders: `benchmarks/results/table.md`."
    )
    return about + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def compared(ours: Any, peer: Any) -> list[str]:
    """The cells of one workload in the summary."""
    wide = any(row["update_ms_q3"] - row["update_ms_q1"] > WIDE * row["update_ms"] for row in (ours, peer))
    aim = AIMS.get((ours["workload"], ours["algorithm"]))
    alone = f" ({digits(peer['alone_ms'])})" if digits(peer["alone_ms"]) else ""
    named = "" if peer["contender"] == PEERS[0] else f", {peer['contender']}"
    return [
        f"{ours['workload']} {ours['algorithm']}",
        ours["contender"].removeprefix("metabench "),
        digits(ours["update_ms"]),
        digits(peer["update_ms"]) + alone + named,
        digits(ours["ratio_to_peer"]) + " ±" * wide,
        digits(aim),
        digits(ours["ratio_to_floor"]),
        *(f"{digits(ours[name])} / {digits(peer[name])}" for name in ("tensors_mb", "peak_mb")),
        digits(ratio(ours["adapt_ms"], peer["adapt_ms"])),
    ]


def insert(page: Path, text: str) -> bool:
    """Put text between the two marker lines of a page; whether there was such a page."""
    if not page.exists():
        return False
    old = page.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        return False
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
    return True
