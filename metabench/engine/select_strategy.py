"""`--strategy auto`: which strategy is the quickest for a trial: measured once on a machine, on CUDA by rule."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from metabench.api import Algorithm, Suite, Task
from metabench.engine.blocks.build import NoBlocksError, library_path
from metabench.engine.environment import cpu_name
from metabench.engine.learner import BatchedLearner
from metabench.engine.measure import synchronise
from metabench.engine.problem import DTYPES
from metabench.engine.rehearsal import rehearse
from metabench.engine.state import TrialRun
from metabench.engine.strategies import STRATEGIES, make_strategy
from metabench.engine.strategies.base import by_rule
from metabench.errors import NotApplicableError, UserError, one_line
from metabench.records.files import cache_dir
from metabench.records.provenance import StrategyChoice
from metabench.records.trials import Execution, Trial

MEASURE_FROM = 100
"""Updates of a trial from which a measurement, which costs about ten of them, is worth it."""


def select_strategy(made: Algorithm, suite: Suite, tasks: Task, trial: Trial, execution: Execution) -> StrategyChoice:
    """The quickest strategy for the rest of a trial, compilation counted; cached per machine.

    A choice that is on disk is taken as it is, and of two that are made at once the first to be written counts:
    strategies round differently, and the same command shall give the same bits.
    """
    if made.objective is None and made.meta_grad is None:
        return ruled(made, execution, "nothing is trained")
    if execution.device.startswith("cuda"):
        return ruled(made, execution, "a CUDA device")
    if trial.budget.updates < MEASURE_FROM:
        return ruled(made, execution, f"fewer than {MEASURE_FROM} updates")
    path = cache_dir() / "strategies" / f"{key(trial, execution)}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=StrategyChoice)
    except (OSError, msgspec.DecodeError):
        pass
    choice = measure(made, suite, tasks, trial, execution)
    try:
        return publish(path, choice)
    except (OSError, msgspec.DecodeError):
        return choice  # a cache that cannot be written costs time, not correctness


def ruled(made: Algorithm, execution: Execution, why: str) -> StrategyChoice:
    """The strategy that is likely the quickest, where none is measured."""
    return StrategyChoice(by_rule(made.init(), execution.plain_layers), {}, f"by rule: {why}")


def ready_learner(
    run: TrialRun, suite: Suite, made: Algorithm, tasks: Task, choice: StrategyChoice | None = None
) -> tuple[BatchedLearner, StrategyChoice]:
    """The algorithm under the strategy that was asked for or chosen, ready for such tasks; and why that one.

    A `choice` that was made before, when the trial began, is kept to. A deterministic trial measures nothing. Where
    one was chosen that cannot run this algorithm on this model, the next is tried, and the choice says why.
    """
    trial, execution = run.trial, run.execution
    if execution.strategy != "auto":
        choice = StrategyChoice(execution.strategy, {}, "asked for")
    elif choice is None and execution.deterministic:
        choice = ruled(made, execution, "deterministic")
    choice = choice or select_strategy(made, suite, tasks, trial, execution)
    others = [name for name in fit_for(execution.device) if name != choice.strategy and not STRATEGIES[name].costly]
    failures: dict[str, Exception] = {}
    for name in (choice.strategy, *(others if execution.strategy == "auto" else ())):
        try:
            learner = BatchedLearner(
                made, make_strategy(name, execution.threads, execution.rematerialise, execution.plain_layers), suite
            )
            rehearse(learner, suite, tasks, f"Algorithm '{trial.algorithm}'")
            learner.prepare(tasks)
        except (UserError, NotApplicableError):
            raise
        except Exception as error:  # of a batching rule that there is not, say; or of the plugin, under each of them
            failures[name] = error
            continue
        reasons = [f"not {failed}: {one_line(error)[:300]}" for failed, error in failures.items()]
        if learner.strategy.problem:
            reasons.append(f"not {name}: {learner.strategy.problem}")
        if reasons:
            choice = msgspec.structs.replace(choice, strategy=name, reason="; ".join(reasons))
        return learner, choice
    raise failures[list(failures)[-1]]


def measure(made: Algorithm, suite: Suite, tasks: Task, trial: Trial, execution: Execution) -> StrategyChoice:
    """Time each strategy, the likely quickest first; one that is costly to get ready only if that can still pay."""
    seconds: dict[str, float] = {}
    reasons = []
    likely, updates = by_rule(made.init(), execution.plain_layers), trial.budget.updates
    for name in sorted(fit_for(execution.device), key=lambda name: (STRATEGIES[name].costly, name != likely)):
        strategy = make_strategy(name, execution.threads, plain_layers=execution.plain_layers)
        learner = BatchedLearner(made, strategy, suite)
        best = min(seconds.values(), default=float("inf"))
        if not strategy.costly:
            try:
                learner.prepare(tasks)
                learner.direction(tasks, 0.0)
            except Exception as error:
                reasons.append(f"not {name}: {one_line(error)[:300]}")
                continue
        elif not seconds:
            continue
        elif reason := strategy.not_worth(
            learner.task_meta_grad, learner.outer, learner.collected(tasks), best, updates
        ):
            reasons.append(reason)
            continue
        timed = quickest(learner, tasks, execution.device, float("inf") if strategy.costly else 2 * best)
        if strategy.problem:
            reasons.append(f"cannot be {name}: {strategy.problem}")
            continue
        seconds[name] = timed
        if strategy.costly:
            reasons.append(f"{name} too")
    quickest_one = min(seconds, key=lambda name: seconds[name], default=likely)
    milliseconds = {name: round(1000 * value, 4) for name, value in seconds.items()}
    return StrategyChoice(quickest_one, milliseconds, f"measured; {', '.join(reasons)}")


def fit_for(device: str) -> list[str]:
    """The strategies that are made for a device."""
    return [name for name, kind in STRATEGIES.items() if device.startswith(kind.device)]


def quickest(learner: BatchedLearner, tasks: Task, device: str, limit: float, repeats: int = 5) -> float:
    """The seconds of the quickest of a few updates after two; fewer where even those are over the limit."""

    def once() -> float:
        synchronise(device)
        began = time.perf_counter()
        learner.update(tasks, 0.0)
        synchronise(device)
        return time.perf_counter() - began

    first = min(once(), once())
    return first if first > limit else min(once() for _ in range(repeats))


def key(trial: Trial, execution: Execution) -> str:
    """Names everything that the speed depends on, but for the seed and the threads."""
    device = torch.cuda.get_device_name(execution.device) if execution.device.startswith("cuda") else cpu_name()
    facts = (
        trial.algorithm, trial.algorithm_parameters, trial.suite, trial.suite_parameters, trial.precision,
        trial.budget.meta_batch_size, trial.budget.updates, device, os.cpu_count(), str(torch.__version__),
        execution.plain_layers, blocks_version(DTYPES[trial.precision]),
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:32]


def blocks_version(dtype: torch.dtype) -> str:
    """The library that blocks of a dtype would run; empty where there can be none."""
    try:
        return library_path(dtype).stem
    except NoBlocksError:
        return ""


def publish(path: Path, choice: StrategyChoice) -> StrategyChoice:
    """Write the choice unless another process has; what is there then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent) as whole:
        whole.write(msgspec.json.encode(choice))
        whole.flush()
        try:
            os.link(whole.name, path)  # all of it at once, and never over another
        except FileExistsError:
            pass
    return msgspec.json.decode(path.read_bytes(), type=StrategyChoice)
