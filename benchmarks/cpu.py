"""Processor time of updates on one thread, in turn in one process: hardly moved by what else the machine does.

python -m benchmarks.cpu             # learn2learn and metabench, plain and with blocks, on convolutional workloads
python -m benchmarks.cpu --family    # every installed algorithm on Omniglot 5w1s, 64 filters, plain and with blocks

Writes benchmarks/results/cpu.csv or family.csv.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks import ROOT
from benchmarks.contenders import metabench as ours
from benchmarks.contenders import tensors
from benchmarks.workloads import WORKLOADS, Workload, make_arrays, omniglot
from metabench.api import Algorithm, Meta, NotApplicableError, Task
from metabench.api.trees import flatten
from metabench.engine.learner import BatchedLearner, as_learner
from metabench.engine.measure import keep_freed_memory
from metabench.registry.discovery import load_registry


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--family", action="store_true", help="every installed algorithm, plain and with blocks")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads or algorithms whose name contains this")
    parser.add_argument("--tasks", type=int, default=2, metavar="N", help="tasks of an update")
    parser.add_argument(
        "--updates", type=int, default=9, metavar="N", help="timed updates each, after one that is not"
    )
    return parser.parse_args()


def in_turn(calls: dict[str, Callable[[], Any]], updates: int) -> dict[str, float]:
    """The median processor time of each call, in milliseconds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(updates + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if number:
                seconds[name].append(time.process_time() - began)
    return {name: 1e3 * statistics.median(each) for name, each in seconds.items()}


def prepared(made: Algorithm, tasks: Task, plain_layers: bool) -> BatchedLearner:
    """A threaded learner on one thread."""
    learner = as_learner(made, "threaded", plain_layers=plain_layers)
    assert isinstance(learner, BatchedLearner)
    learner.prepare(tasks)
    return learner


def gap(one: tuple[Tensor, Meta], other: tuple[Tensor, Meta]) -> float:
    """How far two directions are apart, relative to the second's norm."""
    first, second = (torch.cat([leaf.reshape(-1) for leaf in flatten(each[1])[0]]) for each in (one, other))
    return float(torch.linalg.vector_norm(first - second) / torch.linalg.vector_norm(second))


def workloads(only: str, tasks: int, updates: int) -> Iterator[dict[str, Any]]:
    """A row a convolutional workload."""
    from benchmarks.contenders.learn2learn import Learn2learn

    for workload in WORKLOADS:
        if only not in workload.id or not workload.filters or workload.algorithm == "reptile":
            continue
        work = workload._replace(tasks=tasks)
        arrays = make_arrays(work)
        batch = ours.tasks_of(work, tensors.Tasks(arrays))
        made = ours.algorithm(work, ours.problem(work, arrays))
        plain, blocks = (prepared(made, batch, plain_layers) for plain_layers in (True, False))
        peer = Learn2learn(work, arrays, 1)
        found = in_turn(
            {
                "learn2learn_ms": peer.update,
                "plain_ms": lambda plain=plain, batch=batch: plain.update(batch, 0.0),
                "blocks_ms": lambda blocks=blocks, batch=batch: blocks.update(batch, 0.0),
            },
            updates,
        )
        alone = ours.Threaded(work, arrays, 1)
        found |= in_turn({"learn2learn_adapt_ms": peer.adapt, "adapt_ms": alone.adapt}, updates)
        ratios = {f"{name}_ratio": found[f"{name}_ms"] / found["learn2learn_ms"] for name in ("plain", "blocks")}
        ratios["adapt_ratio"] = found["adapt_ms"] / found["learn2learn_adapt_ms"]
        yield {"workload": work.id, "tasks": tasks, **found, **ratios}


def family(only: str, tasks: int, updates: int) -> Iterator[dict[str, Any]]:
    """A row an installed algorithm that is trained, at its factory's defaults."""
    work: Workload = omniglot("maml", 1)._replace(tasks=tasks)
    arrays = make_arrays(work)
    batch = ours.tasks_of(work, tensors.Tasks(arrays))
    problem = ours.problem(work, arrays)
    for name, entry in load_registry().algorithms.items():
        try:
            made = entry.factory(problem) if only in name else None
        except (NotApplicableError, ImportError):
            continue
        if not isinstance(made, Algorithm) or (made.objective is None and made.meta_grad is None):
            continue
        plain, blocks = (prepared(made, batch, plain_layers) for plain_layers in (True, False))
        difference = gap(blocks.direction(batch, 0.0), plain.direction(batch, 0.0))
        found = in_turn(
            {
                "plain_ms": lambda plain=plain: plain.update(batch, 0.0),
                "blocks_ms": lambda blocks=blocks: blocks.update(batch, 0.0),
            },
            updates,
        )
        ratio = found["blocks_ms"] / found["plain_ms"]
        yield {"algorithm": name, **found, "ratio": ratio, "float32_gap": difference, "ran": blocks.strategy.layers}


def main() -> None:
    """Measure, print, write."""
    given = options()
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = []
    for row in (family if given.family else workloads)(given.only, given.tasks, given.updates):
        rows.append(row)
        print(" ".join(f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in row.items()), flush=True)
    path = ROOT / "benchmarks" / "results" / ("family.csv" if given.family else "cpu.csv")
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
