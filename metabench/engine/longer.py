"""Going on where a shorter training of the same trial has ended, so that 1,000 and then 2,000 updates are 2,000."""

from __future__ import annotations

from typing import Any, NoReturn

from metabench.api import Suite
from metabench.api.trees import map_tree
from metabench.engine.build import build_algorithm
from metabench.engine.checkpointing import Checkpoints, Saved
from metabench.engine.learner import BatchedLearner, as_learner
from metabench.engine.seeds import streams_kept
from metabench.engine.state import TrialRun
from metabench.engine.tasks import training_tasks
from metabench.engine.training import validation_points
from metabench.records.checkpoints import Header


def shorter_training(run: TrialRun, suite: Suite, checkpoints: Checkpoints) -> Saved | None:
    """The end of the longest training that this trial goes on from; the notice says why it does not."""
    content = run.keeper.load_shorter(run.trial.lineage, run.trial.budget.updates)
    if content is None:
        return None
    found = checkpoints.read(content, shorter=True)
    if isinstance(found, str):
        checkpoints.notice = f"did not go on from a shorter training: {found}"
        return None
    header, saved = found
    if reason := why_not(run, suite, header):
        checkpoints.notice = f"did not go on from the training of {header.updates} updates: {reason}"
        return None
    saved.state.resumed += (saved.state.update,)
    checkpoints.kept = (saved.state.update, "")
    return saved


def why_not(run: TrialRun, suite: Suite, header: Header) -> str:
    """Why a longer training is not the shorter one and then some more; empty where it is."""
    budget = run.trial.budget
    ours = {point for point in validation_points(budget.updates, budget.validations) if point <= header.updates}
    if ours != validation_points(header.updates, header.validations):
        return "it was validated after other numbers of updates (see --validate-every)"
    if uses_progress(run, suite):
        return f"what '{run.trial.algorithm}' does at an update depends on how many there are in all"
    return ""


class Progress:
    """A progress that nobody may look at."""

    def refuse(self, *asked: Any) -> NoReturn:
        raise TypeError("the progress is used")

    __bool__ = __eq__ = __ne__ = __float__ = __int__ = __str__ = __repr__ = __format__ = __hash__ = refuse


def uses_progress(run: TrialRun, suite: Suite) -> bool:
    """Whether an update, or its learning rate, depends on the share of the training that is done."""
    progress: Any = Progress()
    try:
        with streams_kept():
            made = build_algorithm(run.registry, suite, run.trial, run.execution.device)
            learner = as_learner(made, "threaded", plain_layers=True, suite=suite)
            tasks = training_tasks(run, suite, 0)
            if not isinstance(learner, BatchedLearner):
                learner.update(tasks, progress)
            elif learner.trainable:
                learner.outer.rates(progress)
                learner.direction(map_tree(lambda leaf: leaf[:1], tasks), progress)
    except Exception:  # what it cannot do without, or a fault that the training will meet too
        return True
    return False
