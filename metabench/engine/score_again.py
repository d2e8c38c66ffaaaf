"""A trained learner tested on other tasks than its trial's, without training again."""

from __future__ import annotations

import msgspec
import torch

from metabench.api import Suite, Task
from metabench.api.trees import slices
from metabench.engine.build import build_suite, refuse_overlap
from metabench.engine.dependence import depends_on_batch
from metabench.engine.digests import code_digests, code_now, data_digests
from metabench.engine.divergence import DivergedError
from metabench.engine.evaluate import add_scores, protocols_to_score, score_block, test
from metabench.engine.learner import layers_of, strategy_of
from metabench.engine.outcome import Ending, outcome_of
from metabench.engine.seeds import streams_kept
from metabench.engine.state import Heartbeat, TrialRun, TrialState
from metabench.engine.tasks import BLOCK
from metabench.engine.trained import TrainedLearner
from metabench.errors import UserError
from metabench.records.checkpoints import NullCheckpointStore
from metabench.records.record import Outcome, Scores
from metabench.records.trials import Execution, Protocol, Trial


def tried_as(learner: TrainedLearner, trial: Trial) -> Outcome:
    """The outcome that `trial` would have had it been trained: it trains as the learner's own trial did.

    Curve and times of training are the learner's. Raises UserError for a suite that does not fit, in a clause.
    """
    with streams_kept():
        suite = build_suite(learner.registry, trial)
        try:
            suite.prepare()
        except ValueError as error:
            raise UserError(str(error)) from None
        refuse_overlap(trial.suite, suite)
        digests = code_digests(code_now(learner.registry, [trial]), trial)
        found = data_digests(trial, suite)
        digests = msgspec.structs.replace(digests, data=found.data, tests=found.tests)
        execution = Execution(device=learner.device)
        run = TrialRun(
            trial,
            execution,
            learner.registry,
            Heartbeat(trial.id, lambda sign: None),
            NullCheckpointStore(),
            lambda: False,
            digests,
        )
        state = trained_state(learner)
        notice = f"tested without training again: it was trained as {learner.trial.id}"
        try:
            tested, ending = test(run, suite, learner.learner, state), Ending("ok")
        except DivergedError as error:
            tested, ending = None, Ending("diverged", str(error))
        return outcome_of(run, state, ending, tested, notice)


def trained_state(learner: TrainedLearner) -> TrialState:
    """What is known of the learner's training, as if it had just ended."""
    record = learner.record
    state = TrialState(
        curve=record.curve,
        strategy=strategy_of(learner.learner),
        layers=layers_of(learner.learner),
        higher_is_better=record.higher_is_better,
        selection=record.selection,
        selected_update=record.selected_update,
        memory_mb=record.peak_memory_mb or 0.0,
        distinct_tasks=record.distinct_tasks,
        environment_steps=record.environment_steps,
    )
    for clock in state.seconds:
        if clock != "test":
            state.seconds[clock] = getattr(record, f"{clock}_seconds")
    return state


def scores_of(learner: TrainedLearner, suite: Suite, tasks: Task, steps: int, protocol: Protocol) -> Scores:
    """The suite's metrics of every one of n tasks, after each inner step, under the protocols asked for."""
    scores: Scores = {}
    blocks = list(slices(tasks, BLOCK))
    with torch.no_grad():
        inductive = protocols_to_score(protocol, depends_on_batch(suite, learner.learner, blocks[0], steps))
        for block in blocks:
            add_scores(scores, score_block(suite, learner.learner, block, steps, inductive))
    return scores
