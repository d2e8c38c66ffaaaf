"""How long the report of 1,000 trials x 600 tasks takes, how large its page is, how soon Chromium has it open.

python -m benchmarks.report [results]        # a folder for the made-up results, kept for another time
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import browser
from metabench.records import store
from metabench.records.provenance import Provenance
from metabench.records.record import Outcome, Record, TestScore, ValidationPoint
from metabench.records.trials import Budget, Trial
from metabench.report import write_report

SUITES, ALGORITHMS, SEEDS, TASKS, STEPS = 5, 20, 10, 600, 4
BARS = {"report_s": 60.0, "page_mb": 5.0, "open_s": 2.0}


def outcome(suite: int, algorithm: int, seed: int) -> Outcome:
    """A made-up trial: some algorithms are better, some tasks harder."""
    trial = Trial(
        algorithm=f"algorithm{algorithm:02}",
        algorithm_parameters={"inner_lr": 0.01 * (1 + algorithm), "inner_steps": STEPS},
        suite=f"suite{suite}",
        suite_parameters={"ways": 5, "shots": 1 + suite},
        seed=seed,
        budget=Budget(updates=1000, test_tasks=TASKS, test_steps=STEPS),
    )
    own, task = np.random.default_rng([suite, algorithm, seed]), np.random.default_rng(suite).normal(size=TASKS)
    level = float(0.4 + 0.015 * algorithm + 0.01 * own.normal())
    steps = np.linspace(-0.2, 0, STEPS + 1)[:, None]
    cells = np.clip(level + steps + 0.08 * task + 0.05 * own.normal(size=(STEPS + 1, TASKS)), 0, 1)
    times = {"train_seconds": 100.0 + algorithm, "adapt_ms": 5.0 + algorithm, "peak_memory_mb": 500.0 + seed}
    curve = [
        ValidationPoint(
            update=100 * at, train_seconds=10.0 * at, train_loss=2 / (1 + at), score=level - 0.2 / (1 + at), ci95=0.02
        )
        for at in range(11)
    ]
    means = cells.mean(1)
    test = TestScore(transductive=True, score=float(means[-1]), ci95=0.01, adaptation={"accuracy": means.tolist()})
    record = Record(
        trial=trial, status="ok", metric="accuracy", tests={"transductive": test}, curve=curve, **times,
        selection="best on validation", selected_update=1000, strategy="vectorised",
        provenance=Provenance(device="cpu", python="3.11", finished=f"2026-11-23T0{seed % 10}:00:00Z"),
    )  # fmt: skip
    return Outcome(record, {"transductive": {"accuracy": cells.tolist(), "loss": (1 - cells).tolist()}})


def made_up(root: Path) -> Path:
    """1,000 trials in a results folder, unless they are there."""
    for suite in range(SUITES if not root.exists() else 0):
        for algorithm in range(ALGORITHMS):
            for seed in range(SEEDS):
                store.write(root, outcome(suite, algorithm, seed))
    return root


def opened(page: Path) -> float:
    """Seconds until Chromium has loaded the page and filled its table of trials; the median of three."""
    seconds = []
    with browser.chromium() as chromium:
        for _ in range(3):
            tab = chromium.new_page()
            began = time.perf_counter()
            tab.goto(page.resolve().as_uri(), wait_until="load")
            assert tab.locator("table.trials tbody tr").count() == SUITES * ALGORITHMS * SEEDS
            seconds.append(time.perf_counter() - began)
            tab.close()
    return sorted(seconds)[1]


def measure(results: Path, out: Path) -> dict[str, float]:
    """What BARS has, and the figures that were drawn."""
    began = time.perf_counter()
    page = write_report(results, out)
    found = {"report_s": time.perf_counter() - began, "page_mb": page.stat().st_size / 1e6}
    if reason := browser.missing():
        print(f"not opened: {reason}")
    else:
        found["open_s"] = opened(page)
    return found | {"figures": float(len(list(page.parent.glob("figures/*.svg"))))}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        results = made_up(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "thousand")
        found = measure(results, Path(folder) / "report")
    for name, value in found.items():
        bar = BARS.get(name)
        print(f"{name:10} {value:8.2f}" + (f"   bar {bar:g}: {'kept' if value < bar else 'MISSED'}" if bar else ""))
    return int(any(found.get(name, 0) >= bar for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
