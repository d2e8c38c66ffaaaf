"""The strategies on a CUDA device, side by side: `python -m benchmarks.cuda`.

Each work is timed under each variant by CUDA events, a row as soon as it is known. A variant that fails is a row with
its reason, and its traceback comes last. Writes benchmarks/results/cuda.csv, or the file of `--out`. On a CPU
(`--device cpu`) sizes are small and no graph is captured: a rehearsal, whose times say nothing; it writes no file but
one that is asked for.
"""

from __future__ import annotations

import argparse
import functools
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks import ROOT
from benchmarks.cuda_works import Work, works
from metabench.api import Suite, Task
from metabench.api.trees import flatten
from metabench.engine.blocks import patches
from metabench.engine.evaluate import final_scores
from metabench.engine.learner import BatchedLearner
from metabench.engine.measure import set_device, synchronise
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator
from metabench.engine.strategies import make_strategy
from metabench.engine.tasks import sampler_on, task_blocks

RESULTS = ROOT / "benchmarks" / "results" / "cuda.csv"
COLUMNS = {
    "update_ms": "{:.3f}",
    "prepare_s": "{:.2f}",
    "error": "{:.1e}",
    "reserved_mb": "{:.0f}",
    "sampling_ms": "{:.3f}",
    "validation_s": "{:.2f}",
    "note": "{}",
}
"""How each is printed. `error`: of the direction, relative to float64's; `validation_s`: of 100 tasks."""


class Variant(NamedTuple):
    """One way to compute it."""

    name: str
    strategy: str
    setting: Callable[[], Any]
    """A context in which the learner is made and used."""
    only: str = ""
    """A part of the names of the works that it is timed on."""
    asked: bool = True
    """Whether it is timed without `--compiled`."""


@contextmanager
def plain() -> Iterator[None]:
    """Inside it networks run their own convolutions."""
    token = patches.ENABLED.set(False)
    try:
        yield
    finally:
        patches.ENABLED.reset(token)


@contextmanager
def setting(**flags: bool) -> Iterator[None]:
    """Inside it cuDNN has these flags; TF32 goes for cuBLAS too."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = {name: getattr(cudnn, name) for name in flags}
    for name, value in flags.items():
        setattr(cudnn, name, value)
    matmul.allow_tf32 = flags.get("allow_tf32", False)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(cudnn, name, value)
        matmul.allow_tf32 = False


VARIANTS = (
    Variant("vectorised", "vectorised", setting),
    Variant("captured", "captured", setting),
    Variant("captured, TF32", "captured", functools.partial(setting, allow_tf32=True)),
    Variant("captured, plain layers", "captured", plain),
    Variant("compiled", "compiled", setting, "sinusoid", asked=False),
    Variant("compiled", "compiled", setting, "mlp", asked=False),
)


def learner_of(work: Work, suite: Suite, strategy: str, device: str, dtype: torch.dtype) -> BatchedLearner:
    """The work's learner at its initial weights."""
    made = work.algorithm(build_problem(suite, 0, device, dtype), **work.parameters)
    return BatchedLearner(made, make_strategy(strategy))


def milliseconds(call: Callable[[], Any], device: str, seconds: float) -> float:
    """Of a call, the least of three stretches of calls after three, by CUDA events where there are any."""
    for _ in range(3):
        call()
    synchronise(device)
    began = time.perf_counter()
    call()
    synchronise(device)
    count = max(2, min(200, int(seconds / 3 / max(time.perf_counter() - began, 1e-5))))
    found = []
    for _ in range(3):
        if device.startswith("cuda"):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(count):
                call()
            last.record()
            synchronise(device)
            found.append(first.elapsed_time(last) / count)
        else:
            began = time.perf_counter()
            for _ in range(count):
                call()
            found.append(1000 * (time.perf_counter() - began) / count)
    return min(found)


def vector(direction: Any) -> Tensor:
    """All numbers of a direction in float64."""
    return torch.cat([leaf.detach().double().flatten() for leaf in flatten(direction)[0]])


def drawn(work: Work, suite: Suite, device: str, number: int, dtype: torch.dtype = torch.float32) -> Task:
    """The tasks of an update, as the engine draws them."""
    tasks = sampler_on(suite, device)("train", work.tasks, random_generator(0, "cuda", number))
    return to_device_dtype(tasks, device, dtype)


class Bench:
    """What was asked for, the rows so far, and the failures on the way."""

    def __init__(self, device: str, seconds: float, compiled: bool) -> None:
        self.device, self.seconds, self.compiled = device, seconds, compiled
        self.rows: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def guarded(self, work: Work, variant: str, function: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        """Add and print the row of a function, or why there is none."""
        try:
            found = function(work, *arguments)
        except Exception as error:
            found = {"note": f"failed: {str(error).partition(chr(10))[0]}"}
            self.failures.append(f"--- {work.name}, {variant}\n{traceback.format_exc()}")
        self.rows.append({"work": work.name, "variant": variant, **found})
        cells = (shown.format(found[name]) if name in found else "" for name, shown in COLUMNS.items())
        print(f"| {work.name} | {variant} | {' | '.join(cells)} |", flush=True)

    def update(self, work: Work, suite: Suite, variant: Variant, exact: Tensor) -> dict[str, Any]:
        """The update, what it costs to prepare, the direction's error, memory."""
        with variant.setting():
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            learner = learner_of(work, suite, variant.strategy, self.device, torch.float32)
            tasks = drawn(work, suite, self.device, 0)
            synchronise(self.device)
            began = time.perf_counter()
            learner.prepare(tasks)
            synchronise(self.device)
            found: dict[str, Any] = {"prepare_s": time.perf_counter() - began}
            graphs = learner.strategy.graphs.values() if variant.strategy == "captured" else ()
            graph = next(iter(graphs), None)
            direction = graph.replay(tasks, 0.0) if graph else learner.direction(tasks, 0.0)
            found["error"] = float((vector(direction[1]) - exact).norm() / exact.norm())
            found["update_ms"] = milliseconds(lambda: learner.update(tasks, 0.0), self.device, self.seconds)
            if self.device.startswith("cuda"):
                found["reserved_mb"] = torch.cuda.max_memory_reserved() / 1e6
        return found | ({"note": f"not captured: {learner.strategy.problem}"} if learner.strategy.problem else {})

    def whole(self, work: Work, suite: Suite, strategy: str) -> dict[str, Any]:
        """Updates as a trial makes them: tasks drawn one by one, the loss looked at every twentieth time."""
        learner = learner_of(work, suite, strategy, self.device, torch.float32)
        learner.prepare(drawn(work, suite, self.device, 0))
        number = 0

        def once() -> None:
            nonlocal number
            loss = learner.update(drawn(work, suite, self.device, number), 0.5)
            number += 1
            if number % 20 == 0:
                float(loss)

        found = {"update_ms": milliseconds(once, self.device, self.seconds)}
        sampling = milliseconds(lambda: drawn(work, suite, self.device, number), self.device, self.seconds / 4)
        blocks = task_blocks(suite, "random", "validation", 100, self.device)
        synchronise(self.device)
        began = time.perf_counter()
        final_scores(suite, learner, blocks, 3, inductive=False)
        return found | {"sampling_ms": sampling, "validation_s": time.perf_counter() - began}

    def work(self, work: Work, suite: Suite) -> None:
        """All rows of a work."""
        reference = learner_of(work, suite, "vectorised", self.device, torch.float64)
        exact = vector(reference.direction(drawn(work, suite, self.device, 0, torch.float64), 0.0)[1])
        del reference
        convolutional = any(isinstance(layer, nn.Conv2d) for layer in suite.model().modules())
        for variant in VARIANTS:
            cudnn = variant.strategy == "captured" and variant.setting is not setting
            if variant.only not in work.name or not (variant.asked or self.compiled) or (cudnn and not convolutional):
                continue
            self.guarded(work, variant.name, self.update, suite, variant, exact)
        self.guarded(work, "whole, with sampling", self.whole, suite, "captured")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each timing")
    parser.add_argument("--only", default="", help="a part of the names of the works that are wanted")
    parser.add_argument("--compiled", action="store_true", help="compile the small works too, which takes minutes")
    parser.add_argument("--out", type=Path, help="the file to write")
    asked = parser.parse_args()
    bench = Bench(asked.device, asked.seconds, asked.compiled)
    set_device(asked.device)
    torch.set_num_threads(1)
    cuda = asked.device.startswith("cuda")
    machine = {"torch": torch.__version__, "device": torch.cuda.get_device_name(asked.device) if cuda else "CPU"}
    print(*machine.values(), "" if cuda else ": a rehearsal", flush=True)
    print(f"| work | variant | {' | '.join(COLUMNS)} |\n{(len(COLUMNS) + 2) * '|---'}|")
    began = time.perf_counter()
    for work in works(small=not cuda):
        if asked.only in work.name:
            try:
                bench.work(work, work.suite())
            except Exception:
                bench.failures.append(f"--- {work.name}\n{traceback.format_exc()}")
    if path := asked.out or (RESULTS if cuda else None):
        frame = pd.DataFrame(bench.rows).reindex(columns=["work", "variant", *COLUMNS]).assign(**machine)
        frame.to_csv(path, index=False, float_format="%.4g")
    print(f"\n{time.perf_counter() - began:.0f} s", *bench.failures, sep="\n", flush=True)


if __name__ == "__main__":
    main()
