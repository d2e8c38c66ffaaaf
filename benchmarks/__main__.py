"""`python -m benchmarks`: the same meta-learning work by everyone, checked, timed side by side, and written down."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.contenders import ENTRIES
from benchmarks.contest import Plan, contest, flatten
from benchmarks.install import setup
from benchmarks.workloads import WORKLOADS, Workload, make_arrays

QUICK = ("sinusoid-maml", "omniglot-5w1s-maml")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two workloads with few tasks, in about a minute")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name contains this")
    parser.add_argument("--contenders", default="", metavar="TEXT", help="contenders whose name contains this")
    parser.add_argument("--tasks", type=int, default=0, metavar="N", help="at most N tasks in every workload")
    parser.add_argument("--minutes", type=float, default=8.0, help="to spread over the repeats beyond the least")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="cores that a contender may use")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Workload]:
    """The workloads of this run."""
    tasks = given.tasks or (4 if given.quick else 0)
    picked = [each for each in WORKLOADS if given.only in each.id and (not given.quick or each.id in QUICK)]
    return [each._replace(tasks=min(tasks or each.tasks, each.tasks)) for each in picked]


def main() -> None:
    """Run, print, write."""
    given = options()
    picked = chosen(given)
    entries = [entry for entry in ENTRIES if given.contenders in entry.name]
    if not (picked and entries):
        sys.exit(f"Nothing to run. Workloads: {', '.join(each.id for each in WORKLOADS)}. Contenders: "
                 f"{', '.join(entry.name for entry in ENTRIES)}.")  # fmt: skip
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {words}", file=sys.stderr, flush=True)

    for note in setup():
        say(note)
    from rich.console import Console

    from benchmarks import figure, floor, table

    rates = {threads: floor.rates(threads) for threads in {1, given.threads}}
    for threads, rate in rates.items():
        say(f"{threads} threads: sgemm {rate.flops / 1e9:.0f} GFLOP/s, copies {rate.bytes / 1e9:.0f} GB/s")
    works = {each.id: floor.work(each, make_arrays(each)) for each in picked}
    floors = {name: {n: rate.seconds(work) for n, rate in rates.items()} for name, work in works.items()}
    plan = Plan(threads=given.threads, least=(3, 1) if given.quick else Plan.least)
    until = began + 60 * (1.0 if given.quick else given.minutes)
    results = []
    for number, workload in enumerate(picked):
        seconds = (until - time.monotonic()) / (len(picked) - number)
        results.append(contest(workload, entries, plan, seconds, say))
        rows = table.frame(flatten(results), floors, machine(rates[given.threads].flops))
        given.out.mkdir(parents=True, exist_ok=True)
        rows.to_csv(given.out / "table.csv", index=False, float_format="%.6g")
    table.show(rows, Console(width=None if sys.stdout.isatty() else 160))
    text = table.markdown(rows)
    (given.out / "table.md").write_text(text, encoding="utf-8")
    figure.draw(rows, given.out / "performance.svg")
    if len(picked) == len(WORKLOADS) and len(entries) == len(ENTRIES) and not given.tasks:
        table.insert(ROOT / "docs" / "performance.md", table.summary(rows))
        figure.draw(rows, ROOT / "docs" / "figures" / "performance.svg")
    say(f"written to {given.out}")


def machine(rate: float) -> dict[str, Any]:
    """Where it ran, in every row."""
    import torch

    from metabench.engine.environment import cpu_name

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "torch": str(torch.__version__),
        "sgemm_gflops": rate / 1e9,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


if __name__ == "__main__":
    main()
