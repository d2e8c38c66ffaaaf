"""`python -m benchmarks.scaling`: how the time of an update grows with tasks, inner steps and shots.

Writes `scaling.csv` and a figure. The exponent is the slope of log time over log size between the two largest
sizes: 1 is linear growth, under 1 is less.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from benchmarks import ROOT
from benchmarks.contenders import metabench
from benchmarks.workloads import Workload, make_arrays, omniglot, sinusoid

SIZES = {
    "tasks": {"sinusoid": (16, 32, 64, 128, 256), "omniglot-5w1s": (4, 8, 16, 32)},
    "inner_steps": {"sinusoid": (1, 2, 4, 8, 16), "omniglot-5w1s": (1, 2, 4, 8)},
    "shots": {"sinusoid": (5, 10, 20, 40, 80), "omniglot-5w1s": (1, 2, 4, 8)},
}
"""What is varied; everything else stays as in the workload, but for 8 tasks on Omniglot."""


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="cores for Omniglot's task threads")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "figures" / "scaling.svg")
    given = parser.parse_args()
    table = pd.DataFrame(measure(given.repeats, given.threads))
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "scaling.csv", index=False, float_format="%.5g")
    for (suite, varied), rows in table.groupby(["suite", "varied"], sort=False):
        times = ", ".join(f"{size}: {ms:.3g}" for size, ms in zip(rows["size"], rows["update_ms"]))
        print(f"{suite}, {varied}: {times} ms; exponent {exponent(rows):.2f}")
    draw(table, given.figure)


def measure(repeats: int, threads: int) -> Iterator[dict[str, Any]]:
    """A row a suite, size and what is varied."""
    for varied, sizes in SIZES.items():
        for suite, values in sizes.items():
            for size in values:
                made = sinusoid("maml", 1) if suite == "sinusoid" else omniglot("maml", 1)._replace(tasks=8)
                change: dict[str, Any] = {varied: size}
                workload = made._replace(**change)
                kind = metabench.Vectorised if suite == "sinusoid" else metabench.Threaded
                yield {"suite": suite, "varied": varied, "size": size,
                       "update_ms": milliseconds(kind, workload, threads, repeats)}  # fmt: skip


def milliseconds(kind: type[metabench.Metabench], workload: Workload, threads: int, repeats: int) -> float:
    """The median time of an update."""
    contender = kind(workload, make_arrays(workload), threads)
    torch.set_num_threads(1)
    contender.update()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        contender.update()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def exponent(rows: pd.DataFrame) -> float:
    """The slope of log time over log size between the two largest sizes."""
    (small, large), (less, more) = rows["size"].iloc[-2:], rows["update_ms"].iloc[-2:]
    return math.log(more / less) / math.log(large / small)


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel for each thing that is varied, both axes logarithmic, linear growth as a dashed line."""
    sns.set_theme(context="paper", style="whitegrid")
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(SIZES), sharey=True)
    colours = dict(zip(table["suite"].unique(), sns.color_palette("colorblind").as_hex()))
    for axes, (varied, rows) in zip(panels, table.groupby("varied", sort=False)):
        for suite, line in rows.groupby("suite", sort=False):
            axes.plot(line["size"], line["update_ms"], "o-", color=colours[suite], label=suite)
            linear = line["update_ms"].iloc[-1] * line["size"] / line["size"].iloc[-1]
            axes.plot(line["size"], linear, "--", color=colours[suite], linewidth=1, alpha=0.7)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(varied.replace("_", " "))
    panels[0].set_ylabel("update, ms")
    panels[0].legend(frameon=False, title="dashed: linear growth", title_fontsize=8)
    sns.despine(fig=figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
