"""run_trial(trial) -> Outcome: train, validate, test, time; a failure is data."""

from __future__ import annotations

import copy
import math
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import torch

from metabench.api import Algorithm, Learner, Task
from metabench.assembly import build_suite, make_algorithm, refuse_overlap
from metabench.choice import prepared
from metabench.errors import UserError, one_line
from metabench.evaluate import (
    adaptation_ms,
    depends_on_batch,
    final_scores,
    mean_and_ci95,
    score_block,
    task_blocks,
)
from metabench.lift import strategy_of
from metabench.measure import Clock, keep_freed_memory, peak_memory_mb, provenance, reset_peak_memory
from metabench.problem import cast
from metabench.registry import Registry, load_registry
from metabench.streams import stream
from metabench.trials import Execution, Outcome, Point, Progress, Record, Scores, Status, Test, Trial

Report = Callable[[Progress], None]

CHECK_EVERY = 20
"""Updates between looks at the loss, each of which waits for the device."""


CLOCKS = ("prepare", "sample", "train", "validation", "test")


class DivergedError(Exception):
    """A loss or a score that is not a finite number."""


def run_trial(trial: Trial, execution: Execution, report: Report, registry: Registry | None = None) -> Outcome:
    """Run one trial from its seed to its record. What goes wrong becomes the record's status and reason."""
    run = Run(trial, execution, report, registry or load_registry(execution.plugins))
    status: Status = "ok"
    reason = ""
    try:
        learner = run.build()
        run.train(learner)
        run.test(learner)
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except UserError as error:
        status, reason = "error", str(error)
    except (Exception, SystemExit) as error:
        status, reason = "error", one_line(error)
        run.provenance["traceback"] = traceback.format_exc()
    return run.outcome(status, reason)


class Run:
    """One trial while it runs: all that is known of it so far, so that a failure loses nothing."""

    def __init__(self, trial: Trial, execution: Execution, report: Report, registry: Registry) -> None:
        self.trial = trial
        self.execution = execution
        self.device = execution.device
        self.registry = registry
        self.send = report
        self.sent = -math.inf
        self.clocks = {name: Clock(self.device) for name in CLOCKS}
        self.provenance: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.scores: Scores = {}
        torch.set_num_threads(1)  # a trial's threads run whole tasks, see strategies.Threaded
        keep_freed_memory()
        reset_peak_memory(self.device)

    def report(self, phase: str, done: int, total: int, loss: float | None = None) -> None:
        """A sign of life, at most five a second and at every end."""
        now = time.monotonic()
        if now - self.sent > 0.2 or done == total:
            self.sent = now
            self.send(Progress(self.trial.id, phase, done, total, loss))

    def build(self) -> Learner:
        """The suite and the learner of the trial."""
        self.suite = build_suite(self.registry, self.trial)
        self.suite.prepare()
        refuse_overlap(self.trial.suite, self.suite)
        made = make_algorithm(self.registry, self.suite, self.trial, self.device)
        learner: Learner
        if isinstance(made, Algorithm):
            with self.clocks["prepare"].running():
                learner, choice = prepared(made, self.training_tasks(0), self.trial, self.execution)
            self.provenance["strategy"] = msgspec.to_builtins(choice)
        else:  # foreign code: the same cores, used in its own way
            learner = made
            torch.set_num_threads(self.execution.threads)
        self.fields |= {"strategy": strategy_of(learner), "higher_is_better": self.suite.higher_is_better}
        return learner

    def tasks(self, split: str, count: int) -> list[Task]:
        """The common validation or test tasks of the trial's suite."""
        return task_blocks(self.suite, self.trial.suite, split, count, self.device)

    def train(self, learner: Learner) -> None:
        """Meta-train, and leave the learner in the state that was best on the validation tasks."""
        budget = self.trial.budget
        updates = budget.updates if learner.trainable else 0
        stops = validation_points(updates, budget.validations)
        blocks = self.tasks("validation", budget.validation_tasks) if stops else []
        sign = 1 if self.suite.higher_is_better else -1
        self.fields["curve"] = curve = []
        best: tuple[float, int, dict[str, Any]] | None = None
        losses: list[torch.Tensor] = []
        for update in range(updates + 1):
            if update in stops:
                point = self.validate(learner, blocks, update, losses)
                curve.append(point)
                losses = []
                if best is None or sign * point.score > sign * best[0]:
                    best = (point.score, update, copy.deepcopy(learner.state_dict()))
            if update == updates:
                break
            losses.append(self.update(learner, update, updates))
            if update % CHECK_EVERY == CHECK_EVERY - 1 or update == updates - 1:
                loss = float(losses[-1])
                if not math.isfinite(loss):
                    raise DivergedError(f"the training loss was {loss} at update {update + 1} of {updates}")
                self.report("train", update + 1, updates, loss)
        if best:
            learner.load_state_dict(best[2])
        self.fields["selection"] = "initial" if not updates else "best on validation" if best else "last"
        self.fields["selected_update"] = best[1] if best else updates

    def training_tasks(self, update: int) -> Task:
        """The tasks of an update, by its number alone: looking at them early changes nothing."""
        generator = stream(self.trial.seed, self.trial.suite, "train", update)
        return cast(self.suite.sample("train", self.trial.budget.meta_batch_size, generator), self.device)

    def update(self, learner: Learner, update: int, updates: int) -> torch.Tensor:
        """One meta-update on the tasks of its number, which are the same for every algorithm at this seed."""
        with self.clocks["sample"].running():
            tasks = self.training_tasks(update)
        with self.clocks["train"].running():
            return learner.update(tasks, update / updates)

    def validate(self, learner: Learner, blocks: list[Task], update: int, losses: list[torch.Tensor]) -> Point:
        """The score on the validation tasks, and the mean training loss since the last one."""
        budget = self.trial.budget
        with self.clocks["validation"].running():
            alone = self.trial.protocol == "inductive" and depends_on_batch(self.suite, learner, blocks[0])
            scores = final_scores(self.suite, learner, blocks, budget.test_steps, alone)
        score, ci95 = mean_and_ci95(scores)
        if not math.isfinite(score):
            raise DivergedError(f"the validation score was {score} at update {update}")
        return Point(
            update=update,
            train_seconds=round(self.clocks["train"].seconds, 4),
            train_loss=float(torch.stack(losses).mean()) if losses else None,
            score=score,
            ci95=ci95,
        )

    def test(self, learner: Learner) -> None:
        """Score every test task after every inner step, under each protocol asked for."""
        budget, protocol = self.trial.budget, self.trial.protocol
        blocks = self.tasks("test", budget.test_tasks)
        alone = {"transductive": False, "inductive": True}
        if not depends_on_batch(self.suite, learner, blocks[0]):
            alone = {"inductive": False}  # both protocols give the same predictions, so take the cheaper way
        elif protocol != "both":
            alone = {protocol: alone[protocol]}
        with self.clocks["test"].running():
            for done, block in enumerate(blocks):
                add_scores(self.scores, score_block(self.suite, learner, block, budget.test_steps, alone))
                self.report("test", done + 1, len(blocks))
        refuse_infinite(self.scores)
        self.fields["adapt_ms"] = adaptation_ms(learner, blocks[0], budget.test_steps, self.device)
        self.fields["metric"] = next(iter(self.scores[next(iter(alone))]))
        self.fields["tests"] = {name: self.summary(name) for name in alone}

    def summary(self, protocol: str) -> Test:
        """Mean and interval of the first metric, and the means of all after each inner step."""
        metrics = self.scores[protocol]
        score, ci95 = mean_and_ci95(metrics[self.fields["metric"]][-1])
        return Test(
            transductive=protocol == "transductive",
            score=score,
            ci95=ci95,
            adaptation={name: [sum(step) / len(step) for step in steps] for name, steps in metrics.items()},
        )

    def outcome(self, status: Status, reason: str) -> Outcome:
        """The record of what is known, and the scores."""
        trial = self.trial
        facts = provenance(self.device, self.execution.threads) | self.provenance
        facts["plugins"] = {kind: self.registry.origin(kind, getattr(trial, kind)) for kind in ("algorithm", "suite")}
        seconds = {f"{name}_seconds": round(clock.seconds, 4) for name, clock in self.clocks.items()}
        memory = round(peak_memory_mb(self.device), 1)
        known: dict[str, Any] = {**self.fields, **seconds, "peak_memory_mb": memory, "provenance": facts}
        record = Record(trial=trial, status=status, reason=reason, **known)
        return Outcome(record, self.scores if status == "ok" else {})


def validation_points(updates: int, validations: int) -> set[int]:
    """The numbers of updates after which to validate: before the first, and then evenly spread to the last."""
    return {round(i * updates / validations) for i in range(validations + 1)} if validations else set()


def add_scores(total: Scores, more: Scores) -> None:
    """Append one block's scores to those before it."""
    for protocol, metrics in more.items():
        for metric, steps in metrics.items():
            rows = total.setdefault(protocol, {}).setdefault(metric, [[] for _ in steps])
            for row, values in zip(rows, steps, strict=True):
                row += values


def refuse_infinite(scores: Scores) -> None:
    """Raise DivergedError if a test task has a score that is not a finite number."""
    for metrics in scores.values():
        for metric, steps in metrics.items():
            for step, values in enumerate(steps):
                bad = sum(not math.isfinite(value) for value in values)
                if bad:
                    raise DivergedError(
                        f"{bad} of {len(values)} test tasks have no finite {metric} after {step} inner steps"
                    )
