"""Meta-training: from the state at which it is to the learner that was the best on the validation tasks."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch

from metabench.api import Learner, Suite, Task
from metabench.engine.checkpointing import Checkpoints
from metabench.engine.dependence import depends_on_batch
from metabench.engine.divergence import DivergedError, divergence
from metabench.engine.evaluate import add_scores, final_scores, mean_and_ci95, score_block
from metabench.engine.measure import UpdateClock, timed
from metabench.engine.norms import WatchedUpdate
from metabench.engine.seeds import random_state
from metabench.engine.state import Last, TrialRun, TrialState
from metabench.engine.tasks import common_tasks, training_tasks
from metabench.records.record import Scores, StoppedError, ValidationPoint

CHECK_EVERY = 20
"""Updates between looks at the loss, each of which waits for the device."""


class PrunedError(Exception):
    """A trial that is not worth its time: see Trial.pruning_thresholds."""


def train(run: TrialRun, suite: Suite, learner: Learner, state: TrialState, checkpoints: Checkpoints) -> None:
    """Meta-train to the end of the budget; the learner then has the state that was best on the validation tasks.

    Raises DivergedError where a training loss, or every validation score, is not finite, PrunedError, and
    StoppedError after a checkpoint.
    """
    if state.selection:  # it was trained to the end before, and is here for its test
        return
    budget, device = run.trial.budget, run.execution.device
    updates = budget.updates if learner.trainable else 0
    points = validation_points(updates, budget.validations)
    blocks = common_tasks(run, suite, "validation", budget.validation_tasks) if points else []
    run.heartbeat("train", state.update, updates)
    clock = UpdateClock(state.seconds, device)
    while True:
        if state.update in points and state.update != state.validated:
            clock.read()
            with timed(state.seconds, "validation", device):
                score, ci95 = validate(run, suite, learner, blocks, state)
            if math.isfinite(score):
                state.add_point(new_point(state, score, ci95), learner)
                run.heartbeat("train", state.update, updates, score=score)
            state.validated = state.update
            prune(run, state)
        if state.update == updates:
            break
        with clock.sampling():
            tasks = training_tasks(run, suite, state.update)
        watched = None
        if state.update + 1 in points:
            clock.read()
            with timed(state.seconds, "validation", device):
                watched = WatchedUpdate(learner, tasks, state.update / updates)
        with clock.training():
            checkpoints.torn = True
            state.losses.append(learner.update(tasks, state.update / updates).detach())
        state.update += 1
        if watched:
            clock.read()
            with timed(state.seconds, "validation", device):
                state.norms = watched.norms()
        checkpoints.torn = False
        if state.update % CHECK_EVERY == 0 or state.update == updates:
            loss = float(state.losses[-1])
            clock.read()
            if not math.isfinite(loss):
                raise DivergedError(f"the training loss was {loss} at update {state.update} of {updates}")
            run.heartbeat("train", state.update, updates, loss=loss)
        stop = run.stopping()
        if stop or checkpoints.due(state.update):
            clock.read()
            checkpoints.save(state, learner)
        if stop:
            raise StoppedError
    if run.execution.keep_training_state:
        state.last = Last(copy.deepcopy(learner.state_dict()), random_state(), dict(state.seconds))
    if state.not_finite and not state.best:
        raise DivergedError(f"no validation score was finite: {state.not_finite[-1]}")
    if state.best:
        learner.load_state_dict(state.best.learner)
    state.selection = "initial" if not updates else "best on validation" if state.best else "last"
    state.selected_update = state.best.update if state.best else updates


def validation_points(updates: int, validations: int) -> set[int]:
    """The numbers of updates after which to validate: before the first, and then evenly spread to the last."""
    return {round(i * updates / validations) for i in range(validations + 1)} if validations else set()


def validate(
    run: TrialRun, suite: Suite, learner: Learner, blocks: Sequence[Task], state: TrialState
) -> tuple[float, float]:
    """The score on the validation tasks and its interval, under the trial's protocol.

    Where it is not finite both are NaN, and the state says how far it was: a trial may have a better state, before or
    after, and goes on.
    """
    steps = run.trial.budget.test_steps
    if run.trial.protocol == "inductive":
        state.depends = state.depends or depends_on_batch(suite, learner, blocks[0], steps)
    inductive = run.trial.protocol == "inductive" and state.depends
    score, ci95 = mean_and_ci95(final_scores(suite, learner, blocks, steps, inductive))
    if not math.isfinite(score):
        every: Scores = {}
        for number in range(len(blocks)):
            add_scores(every, score_block(suite, learner, blocks[number], steps, {"": inductive}))
        state.not_finite += (f"at update {state.update} {divergence(every)}",)
    return score, ci95


def new_point(state: TrialState, score: float, ci95: float) -> ValidationPoint:
    """A point of the curve, with the mean training loss since the one before and the norms of the last update."""
    return ValidationPoint(
        update=state.update,
        train_seconds=round(state.seconds["train"], 4),
        train_loss=float(torch.stack(state.losses).mean()) if state.losses else None,
        score=score,
        ci95=ci95,
        gradient_norm=state.norms.gradient,
        update_norm=state.norms.update,
    )


def prune(run: TrialRun, state: TrialState) -> None:
    """Raise PrunedError if there is a threshold at this update, and the best score so far is worse."""
    for update, threshold in run.trial.pruning_thresholds:
        if update == state.update and (not state.best or state.is_better(threshold, than=state.best.score)):
            best = f"{state.best.score:.4g}" if state.best else "not finite"
            raise PrunedError(f"its best validation score was {best} at update {update}, the median {threshold:.4g}")
