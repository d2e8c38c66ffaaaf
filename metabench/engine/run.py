"""run_trial(trial) -> Outcome: set up, train, test, record; a failure is data."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import msgspec
import torch

from metabench.api import Algorithm, Learner, Suite
from metabench.engine.blocks import patches
from metabench.engine.build import build_algorithm, build_suite, refuse_overlap
from metabench.engine.checkpointing import Checkpoints, Saved
from metabench.engine.crossed import take_training
from metabench.engine.digests import code_digests, code_now, data_digests, refuse_changed
from metabench.engine.divergence import DivergedError
from metabench.engine.environment import load_now
from metabench.engine.evaluate import test
from metabench.engine.kept_state import kept_state
from metabench.engine.learner import layers_of, strategy_of
from metabench.engine.longer import shorter_training
from metabench.engine.measure import keep_freed_memory, reset_peak_memory, set_deterministic, set_device, timed
from metabench.engine.outcome import NOTHING, Ending, Kept, outcome_of
from metabench.engine.rehearsal import rehearse
from metabench.engine.second_order import explained
from metabench.engine.seeds import seed_everything, set_random_state
from metabench.engine.select_strategy import ready_learner
from metabench.engine.state import Heartbeat, OnProgress, TrialRun, TrialState
from metabench.engine.tasks import training_tasks
from metabench.engine.training import PrunedError, train
from metabench.errors import NotApplicableError, UserError, one_line
from metabench.records.checkpoints import CheckpointStore, NullCheckpointStore
from metabench.records.record import Outcome, StoppedError
from metabench.records.status import Status
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry, load_registry

ENDINGS: dict[type[Exception], Status] = {
    NotApplicableError: "unfit",
    DivergedError: "diverged",
    PrunedError: "pruned",
    UserError: "error",
}
"""How a trial ends by what is raised; by anything else as an error with a traceback."""


def run_trial(
    trial: Trial,
    execution: Execution,
    on_progress: OnProgress,
    registry: Registry | None = None,
    *,
    keeper: CheckpointStore | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run one trial from its seed, or from the checkpoint in its keeper, to its record.

    What goes wrong becomes the record's status and reason. When `stopping` turns true the trial is checkpointed
    and StoppedError raised.
    """
    registry, keeper = registry or load_registry(execution.plugins), keeper or NullCheckpointStore()
    run = TrialRun(trial, execution, registry, Heartbeat(trial.id, on_progress), keeper, stopping, load=load_now())
    state, checkpoints, learner, tested, kept = TrialState(), None, None, None, NOTHING
    ending = Ending("ok")
    try:
        code = code_now(registry, [trial])
        run = run._replace(digests=code_digests(code, trial))
        refuse_changed(code, execution)
        set_up_process(execution)
        suite = prepared_suite(run)
        found = data_digests(trial, suite)
        run = run._replace(digests=msgspec.structs.replace(run.digests, data=found.data, tests=found.tests))
        checkpoints = Checkpoints(run)
        saved = checkpoints.load() or shorter_training(run, suite, checkpoints)
        state = saved.state if saved else state
        learner = build(run, suite, state)
        if saved and not restored(saved, learner, checkpoints):
            state, suite = TrialState(), prepared_suite(run)
            learner = build(run, suite, state)
        if not saved:
            checkpoints.note(take_training(run, learner, state))
        train(run, suite, learner, state, checkpoints)
        if trial.budget.test_tasks:
            checkpoints.keep_training(state, learner)
            tested = test(run, suite, learner, state)
            kept = what_is_kept(run, state, learner, checkpoints)
    except StoppedError:
        raise
    except tuple(ENDINGS) as error:
        ending = Ending(next(status for kind, status in ENDINGS.items() if isinstance(error, kind)), str(error))
    except (Exception, SystemExit) as error:
        ending = Ending("error", explained(run, error) or one_line(error), traceback.format_exc())
    if ending.status == "error" and checkpoints and learner:
        checkpoints.rescue(state, learner)
    return outcome_of(run, state, ending, tested, checkpoints.notice if checkpoints else "", kept=kept)


def what_is_kept(run: TrialRun, state: TrialState, learner: Learner, checkpoints: Checkpoints) -> Kept:
    """The states that are to be kept; one that cannot be, such as a stranger's, costs the trial nothing."""
    try:
        kept = Kept(kept_state(run, state, learner) if run.execution.keep_state else None)
        return kept._replace(training=checkpoints.training(state))
    except Exception as error:
        checkpoints.note(f"its state could not be kept: {one_line(error)}")
        return NOTHING


def set_up_process(execution: Execution) -> None:
    """Set this process up for a trial; raises UserError where there is no such device."""
    if execution.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"There is no device '{execution.device}' on this machine.")
    torch.set_num_threads(1)  # a trial's threads run whole tasks, see strategies.Threaded
    set_deterministic(execution.deterministic, execution.device)
    set_device(execution.device)
    patches.ENABLED.set(not execution.plain_layers)
    keep_freed_memory()
    reset_peak_memory(execution.device)


def prepared_suite(run: TrialRun) -> Suite:
    """The suite of the trial, its data in place; global random streams begin here."""
    run.heartbeat("preparing data", 0, 1)
    seed_everything(run.trial.seed)
    suite = build_suite(run.registry, run.trial)
    suite.prepare()
    refuse_overlap(run.trial.suite, suite)
    return suite


def build(run: TrialRun, suite: Suite, state: TrialState) -> Learner:
    """The learner of the trial, at the beginning; a strategy is chosen unless `state` has a choice."""
    trial, execution = run.trial, run.execution
    made = build_algorithm(run.registry, suite, trial, execution.device)
    learner: Learner
    if isinstance(made, Algorithm):
        clocks = dict(state.seconds) if state.resumed else state.seconds  # what is prepared twice is counted once
        run.heartbeat("measuring strategies" if state.choice is None else "building", 0, 1)
        with timed(clocks, "prepare", execution.device):
            tasks = training_tasks(run, suite, 0)
            learner, state.choice = ready_learner(run, suite, made, tasks, state.choice)
    else:  # learners of other libraries manage their own threads
        learner = made
        if suite.collect and not getattr(made, "collects", False):
            raise NotApplicableError("it is a Learner of its own, which does not collect between inner steps")
        rehearse(learner, suite, training_tasks(run, suite, 0), f"Algorithm '{trial.algorithm}'")
        torch.set_num_threads(1 if execution.deterministic else execution.threads)
    state.strategy, state.layers = strategy_of(learner), layers_of(learner)
    state.higher_is_better, state.distinct_tasks = suite.higher_is_better, suite.distinct_tasks
    state.environment_steps = trial.budget.meta_batch_size * suite.acting.steps if suite.acting else 0
    return learner


def restored(saved: Saved, learner: Learner, checkpoints: Checkpoints) -> bool:
    """Whether the learner and the global random streams are now where they were; if not, start over."""
    try:
        learner.load_state_dict(saved.learner)
        set_random_state(saved.random)
    except Exception as error:  # a readable checkpoint, but a state that is of no use
        checkpoints.refuse(one_line(error))
        return False
    return True
