"""`python -m benchmarks.harness`: what everything around the engine costs, and trials side by side.

Prints and writes `harness.csv`: the harness's share of a trial, the time of `metabench --help`, the parent's
memory while many trials finish, the throughput of one trial a core beside that of one trial alone, what checkpoints
cost and how long many records take to load.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from benchmarks import ROOT

METABENCH = [sys.executable, "-c", "from metabench.cli.main import main; main()"]
SHARE = {"sinusoid": 1000, "glyphs": 300}
"""Suites of which a trial of so many updates is taken apart."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="short trials while the parent's memory is watched")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where the results go")
    given = parser.parse_args()
    rows = [{"figure": "metabench --help, s", "value": help_seconds()}]
    rows += [row for suite, updates in SHARE.items() for row in shares(suite, updates)]
    rows += side_by_side()
    rows += checkpoint_costs()
    rows.append({"figure": "loading 10,000 records into pandas, s", "value": load_seconds(10_000)})
    rows.append({"figure": f"parent's peak memory over {given.trials} trials, MB", "value": parent_mb(given.trials)})
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out / "harness.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))


def help_seconds(repeats: int = 7) -> float:
    """The median time of `metabench --help`, the process included."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([*METABENCH, "--help"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(repeats))


def run(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """`metabench run` in the background."""
    return subprocess.Popen([*METABENCH, "run", "--out", str(folder), *words], stdout=subprocess.DEVNULL)


def shares(suite: str, updates: int) -> list[dict[str, Any]]:
    """Where the time of one trial goes: the engine's clocks, the sampling of tasks, and all the rest."""
    code = f"""
import json, time
from metabench.engine.run import run_trial
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_trials
from metabench.registry.discovery import load_registry
from metabench.records.trials import Execution
options = Options(algos=("maml",), suites=({suite!r},), seeds=1, updates={updates})
trial, = plan_trials(options, load_registry())
short = Options(algos=("maml",), suites=({suite!r},), updates=2)
run_trial(plan_trials(short, load_registry())[0], Execution(), print)
began = time.perf_counter()
record = run_trial(trial, Execution(), lambda sign: None).record
clocks = ("prepare", "sample", "train", "validation", "test")
seconds = {{name: getattr(record, name + "_seconds") for name in clocks}}
seconds["latency"] = 21 * record.adapt_ms / 1000
print("\\n" + json.dumps([time.perf_counter() - began, seconds]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    wall, seconds = json.loads(done.stdout.splitlines()[-1])
    sampling = seconds.pop("sample")
    rest = wall - sampling - sum(seconds.values())
    about = f"of a {updates}-update trial on {suite}"
    return [
        {"figure": f"whole {about}, s", "value": wall},
        {"figure": f"sampling, % {about}", "value": 100 * sampling / wall},
        {"figure": f"neither engine nor sampling, % {about}", "value": 100 * rest / wall},
    ]


def side_by_side() -> list[dict[str, Any]]:
    """Updates a second of trials of one thread: one alone, and one on every core at once."""
    cores = len(os.sched_getaffinity(0))
    rows = []
    for suite, updates in (("sinusoid", 1500), ("glyphs", 100)):
        alone = statistics.median(rates(suite, updates, 1) for _ in range(3))
        together = statistics.median(rates(suite, updates, cores) for _ in range(3))
        share = 100 * together / (cores * alone)
        rows.append({"figure": f"{cores} trials at once on {suite}, % of {cores} times one alone", "value": share})
    return rows


def rates(suite: str, updates: int, jobs: int) -> float:
    """Updates a second, summed over trials that run at the same time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        words = ["--algos", "maml", "--suites", suite, "--seeds", str(jobs), "--jobs", str(jobs)]
        limits = ["--updates", str(updates), "--validations", "0", "--test-tasks", "2", "--strategy", "vectorised"]
        with one_core_each(jobs):
            assert run(folder, *words, *limits).wait() == 0
        records = [json.loads(path.read_bytes()) for path in folder.glob("*/record.json")]
        return sum(updates / record["train_seconds"] for record in records)


class one_core_each:  # noqa: N801, used like a function
    """As many cores for this process and its children as there are trials, so that each trial has one thread."""

    def __init__(self, jobs: int) -> None:
        self.all = os.sched_getaffinity(0)
        self.few = set(sorted(self.all)[:jobs])

    def __enter__(self) -> None:
        os.sched_setaffinity(0, self.few)

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self.all)


def checkpoint_costs(every: int = 10, updates: int = 200) -> list[dict[str, Any]]:
    """What one checkpoint of a 64-filter network with Adam's moments takes, and what one a minute comes to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        words = ["--algos", "maml", "--suites", "glyphs", "--seeds", "1", "--set", "glyphs.filters=64"]
        limits = ["--updates", str(updates), "--meta-batch-size", "1", "--validations", "1", "--test-tasks", "2"]
        assert run(folder, *words, *limits, "--checkpoint-every", str(every)).wait() == 0
        (path,) = folder.glob("*/record.json")
        seconds = json.loads(path.read_bytes())["checkpoint_seconds"] * every / updates
    return [
        {"figure": "one checkpoint, 64 filters, ms", "value": 1000 * seconds},
        {"figure": "checkpoints at the default of one a minute, % of the time", "value": 100 * seconds / 60},
    ]


def load_seconds(trials: int) -> float:
    """How long `metabench.load` takes for copies of the committed quick comparison's first record."""
    import metabench
    from metabench.records import store
    from metabench.records.record import Outcome

    first = next(iter(store.records(ROOT / "results" / "quickstart")))
    scores = store.scores(ROOT / "results" / "quickstart", first)
    with tempfile.TemporaryDirectory() as name:
        for seed in range(trials):
            trial = msgspec.structs.replace(first.trial, seed=seed)
            store.write(Path(name), Outcome(msgspec.structs.replace(first, trial=trial), scores))
        began = time.perf_counter()
        assert len(metabench.load(name)) == trials
        return time.perf_counter() - began


def parent_mb(trials: int) -> float:
    """The peak resident memory of the process that hands out the trials, in MB (10^6 bytes)."""
    with tempfile.TemporaryDirectory() as name:
        limits = ["--updates", "1", "--validations", "0", "--test-tasks", "2", "--test-steps", "1"]
        process = run(Path(name) / "r", "--algos", "maml", "--suites", "sinusoid", "--seeds", str(trials), *limits)
        peak = 0.0
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM"):
                    peak = int(line.split()[1]) * 1024 / 1e6
            time.sleep(0.2)
        assert process.returncode == 0
        return peak


if __name__ == "__main__":
    main()
