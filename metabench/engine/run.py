"""run_trial(trial) -> Outcome: train, validate, test, time; a failure is data."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import torch

from metabench.api import Algorithm, Learner, Task
from metabench.engine.build import build_algorithm, build_suite, refuse_overlap
from metabench.engine.environment import bits, environment, version_of
from metabench.engine.evaluate import (
    DivergedError,
    adaptation_ms,
    add_scores,
    depends_on_batch,
    final_scores,
    mean_and_ci95,
    refuse_infinite,
    score_block,
    task_blocks,
)
from metabench.engine.examples import examples
from metabench.engine.learner import strategy_of
from metabench.engine.measure import Clock, keep_freed_memory, peak_memory_mb, reset_peak_memory, set_deterministic
from metabench.engine.problem import DTYPES, to_device_dtype
from metabench.engine.seeds import seed_everything, set_random_state, stream
from metabench.engine.select_strategy import prepared
from metabench.engine.training import Checkpoints, PrunedError, Training
from metabench.errors import NotApplicableError, UserError, one_line
from metabench.records.checkpoints import CheckpointStore, NullCheckpointStore
from metabench.records.provenance import PluginOrigins, StrategyChoice
from metabench.records.record import (
    Examples,
    Outcome,
    Progress,
    Record,
    Scores,
    Status,
    StoppedError,
    TestScore,
    ValidationPoint,
)
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry, load_registry

Report = Callable[[Progress], None]

CHECK_EVERY = 20
"""Updates between looks at the loss, each of which waits for the device."""


CLOCKS = ("prepare", "sample", "train", "validation", "checkpoint", "test")


def run_trial(
    trial: Trial,
    execution: Execution,
    report: Report,
    registry: Registry | None = None,
    *,
    keeper: CheckpointStore | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run one trial from its seed, or from the checkpoint in its keeper, to its record.

    What goes wrong becomes the record's status and reason. When `stopping` turns true the trial is checkpointed
    and StoppedError raised.
    """
    run = Run(trial, execution, report, registry or load_registry(execution.plugins))
    run.keeper, run.stopping = keeper or NullCheckpointStore(), stopping
    status: Status = "ok"
    reason = ""
    try:
        run.settle()
        learner = run.train()
        if trial.budget.test_tasks:
            run.test(learner)
    except StoppedError:
        raise
    except NotApplicableError as error:
        status, reason = "unfit", str(error)
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except PrunedError as error:
        status, reason = "pruned", str(error)
    except UserError as error:
        status, reason = "error", str(error)
    except (Exception, SystemExit) as error:
        status, reason = "error", one_line(error)
        run.traceback = traceback.format_exc()
    return run.outcome(status, reason)


class Run:
    """One trial while it runs: all that is known of it so far, so that a failure loses nothing."""

    keeper: CheckpointStore
    stopping: Callable[[], bool]
    checkpoints: Checkpoints | None = None

    def __init__(self, trial: Trial, execution: Execution, report: Report, registry: Registry) -> None:
        self.trial = trial
        self.execution = execution
        self.device = execution.device
        self.dtype = DTYPES[trial.precision]
        self.registry = registry
        self.send = report
        self.sent = -math.inf
        self.clocks = {name: Clock(self.device) for name in CLOCKS}
        self.memory = 0.0
        self.choice: StrategyChoice | None = None
        self.resumed: tuple[int, ...] = ()
        self.traceback = ""
        self.fields: dict[str, Any] = {}
        self.scores: Scores = {}
        self.examples: Examples | None = None

    def settle(self) -> None:
        """Set this process up for the trial."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            asked, self.device = self.device, "cpu"
            self.clocks = {name: Clock(self.device) for name in CLOCKS}
            raise UserError(f"There is no device '{asked}' on this machine.")
        torch.set_num_threads(1)  # a trial's threads run whole tasks, see strategies.Threaded
        set_deterministic(self.execution.deterministic)
        keep_freed_memory()
        reset_peak_memory(self.device)

    def code(self) -> dict[str, Any]:
        """What must be the same for a trial to go on from a checkpoint."""
        kinds = ("algorithm", "suite")
        digests = {kind: self.registry.digest(kind, getattr(self.trial, kind)) for kind in kinds}
        return digests | {"metabench": version_of("metabench"), "torch": str(torch.__version__)}

    def report(
        self, phase: str, done: int, total: int, loss: float | None = None, score: float | None = None
    ) -> None:
        """A sign of life, at most five a second, at every end and with every score."""
        now = time.monotonic()
        if now - self.sent > 0.2 or done == total or score is not None:
            self.sent = now
            self.send(Progress(self.trial.id, phase, done, total, loss, score))

    def build(self, choice: StrategyChoice | None) -> Learner:
        """The suite and the learner of the trial; its strategy is chosen anew unless an earlier choice is given."""
        self.suite = build_suite(self.registry, self.trial)
        self.suite.prepare()
        refuse_overlap(self.trial.suite, self.suite)
        made = build_algorithm(self.registry, self.suite, self.trial, self.device)
        learner: Learner
        if isinstance(made, Algorithm):
            with self.clocks["prepare"].running():
                learner, self.choice = prepared(made, self.training_tasks(0), self.trial, self.execution, choice)
        else:  # foreign code: the same cores, used in its own way
            learner = made
            torch.set_num_threads(1 if self.execution.deterministic else self.execution.threads)
        self.fields |= {"strategy": strategy_of(learner), "higher_is_better": self.suite.higher_is_better}
        return learner

    def begin(self) -> tuple[Learner, Training]:
        """The learner and where its training is: at the checkpoint if there is one that can be used."""
        self.checkpoints = Checkpoints(self.trial, self.execution, self.keeper, self.code())
        state = self.checkpoints.load()
        if state:
            try:
                return self.at(state)
            except Exception as error:  # it was written by this very code, and cannot be read by it
                self.checkpoints.refuse(one_line(error))
        return self.at(None)

    def at(self, state: dict[str, Any] | None) -> tuple[Learner, Training]:
        """The learner and the training as they were at a checkpoint, or at the beginning."""
        seed_everything(self.trial.seed)
        learner = self.build(msgspec.convert(state["choice"], StrategyChoice | None) if state else None)
        training = Training(1 if self.suite.higher_is_better else -1)
        if state:
            training.load_state_dict(state["training"], self.device)
            learner.load_state_dict(state["learner"])
            set_random_state(state["random"])
            for name, seconds in state["seconds"].items():
                self.clocks[name].seconds = seconds
            self.memory = state["memory"]
            self.resumed = (*state["resumed"], training.update)
        self.fields["curve"] = training.curve
        return learner, training

    def keep(self, learner: Learner, training: Training) -> None:
        """Make a checkpoint if one is due or the trial is to stop."""
        stop = self.stopping()
        assert self.checkpoints is not None
        if stop or self.checkpoints.due(training.update):
            with self.clocks["checkpoint"].running():
                seconds = {name: clock.seconds for name, clock in self.clocks.items()}
                state = {
                    "learner": learner.state_dict(),
                    "training": training.state_dict(),
                    "seconds": seconds,
                    "memory": self.peak_memory(),
                    "choice": msgspec.to_builtins(self.choice),
                    "resumed": list(self.resumed),
                }
                self.checkpoints.save(training.update, sum(seconds.values()), state)
        if stop:
            raise StoppedError

    def peak_memory(self) -> float:
        """In MB, over this part of the trial and those before."""
        return max(self.memory, peak_memory_mb(self.device))

    def tasks(self, split: str, count: int) -> list[Task]:
        """The common validation or test tasks of the trial's suite."""
        blocks = task_blocks(self.suite, self.trial.suite, split, count, self.device)
        return [to_device_dtype(block, self.device, self.dtype) for block in blocks]

    def train(self) -> Learner:
        """Meta-train; the learner in the state that was best on the validation tasks."""
        learner, training = self.begin()
        budget = self.trial.budget
        updates = budget.updates if learner.trainable else 0
        stops = validation_points(updates, budget.validations)
        blocks = self.tasks("validation", budget.validation_tasks) if stops else []
        self.report("train", training.update, updates)
        while True:
            if training.update in stops:
                point = self.validate(learner, blocks, training)
                training.add(point, learner)
                self.report("train", training.update, updates, score=point.score)
                training.prune(self.trial.bars)
            if training.update == updates:
                break
            training.losses.append(self.update(learner, training.update, updates))
            training.update += 1
            if training.update % CHECK_EVERY == 0 or training.update == updates:
                loss = float(training.losses[-1])
                if not math.isfinite(loss):
                    raise DivergedError(f"the training loss was {loss} at update {training.update} of {updates}")
                self.report("train", training.update, updates, loss)
            self.keep(learner, training)
        best = training.best
        if best:
            learner.load_state_dict(best[2])
        self.fields["selection"] = "initial" if not updates else "best on validation" if best else "last"
        self.fields["selected_update"] = best[1] if best else updates
        return learner

    def training_tasks(self, update: int) -> Task:
        """The tasks of an update, by its number alone: looking at them early changes nothing."""
        generator = stream(self.trial.seed, self.trial.suite, "train", update)
        return to_device_dtype(
            self.suite.sample("train", self.trial.budget.meta_batch_size, generator), self.device, self.dtype
        )

    def update(self, learner: Learner, update: int, updates: int) -> torch.Tensor:
        """One meta-update on the tasks of its number, which are the same for every algorithm at this seed."""
        with self.clocks["sample"].running():
            tasks = self.training_tasks(update)
        with self.clocks["train"].running():
            return learner.update(tasks, update / updates)

    def validate(self, learner: Learner, blocks: list[Task], training: Training) -> ValidationPoint:
        """The score on the validation tasks, and the mean training loss since the last one."""
        budget = self.trial.budget
        with self.clocks["validation"].running():
            alone = self.trial.protocol == "inductive" and depends_on_batch(self.suite, learner, blocks[0])
            scores = final_scores(self.suite, learner, blocks, budget.test_steps, alone)
        score, ci95 = mean_and_ci95(scores)
        if not math.isfinite(score):
            raise DivergedError(f"the validation score was {score} at update {training.update}")
        return ValidationPoint(
            update=training.update,
            train_seconds=round(self.clocks["train"].seconds, 4),
            train_loss=float(torch.stack(training.losses).mean()) if training.losses else None,
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
                if self.stopping():
                    raise StoppedError
                add_scores(self.scores, score_block(self.suite, learner, block, budget.test_steps, alone))
                self.report("test", done + 1, len(blocks))
        refuse_infinite(self.scores)
        self.fields["adapt_ms"] = adaptation_ms(learner, blocks[0], budget.test_steps, self.device)
        self.fields["metric"] = next(iter(self.scores[next(iter(alone))]))
        self.fields["tests"] = {name: self.summary(name) for name in alone}
        shown, by_itself = next(iter(alone.items()))
        self.examples = examples(learner, blocks[0], budget.test_steps, shown, alone=by_itself)

    def summary(self, protocol: str) -> TestScore:
        """Mean and interval of the first metric, and the means of all after each inner step."""
        metrics = self.scores[protocol]
        score, ci95 = mean_and_ci95(metrics[self.fields["metric"]][-1])
        return TestScore(
            transductive=protocol == "transductive",
            score=score,
            ci95=ci95,
            adaptation={name: [sum(step) / len(step) for step in steps] for name, steps in metrics.items()},
        )

    def outcome(self, status: Status, reason: str) -> Outcome:
        """The record of what is known, and the scores."""
        trial = self.trial
        sure = self.execution.deterministic
        facts = msgspec.structs.replace(
            environment(self.device),
            threads=self.execution.threads,
            choice=self.choice,
            resumed=self.resumed,
            traceback=self.traceback,
            deterministic=sure,
            rematerialise=self.execution.rematerialise,
            bits=bits(self.device, sure, self.fields.get("strategy", "")),
            notice=self.checkpoints.notice if self.checkpoints else "",
            plugins=PluginOrigins(
                self.registry.origin("algorithm", trial.algorithm), self.registry.origin("suite", trial.suite)
            ),
        )
        seconds = {f"{name}_seconds": round(clock.seconds, 4) for name, clock in self.clocks.items()}
        memory = round(self.peak_memory(), 1)
        known: dict[str, Any] = {**self.fields, **seconds, "peak_memory_mb": memory, "provenance": facts}
        record = Record(trial=trial, status=status, reason=reason, **known)
        return Outcome(record, self.scores, self.examples) if status == "ok" else Outcome(record, {})


def validation_points(updates: int, validations: int) -> set[int]:
    """The numbers of updates after which to validate: before the first, and then evenly spread to the last."""
    return {round(i * updates / validations) for i in range(validations + 1)} if validations else set()
