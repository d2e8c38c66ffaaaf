"""metabench: gradient-based meta-learners, compared fairly. From Python: run(...), load(...), load_learner(...)."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.errors import UserError
from metabench.experiments.learners import load_learner
from metabench.experiments.read_options import read_options, with_keywords
from metabench.records.frames import load, load_tasks

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["UserError", "load", "load_learner", "load_tasks", "run"]
__version__ = version("metabench")


@with_keywords
def run(config: str | Path | None = None, **options: Any) -> DataFrame:
    """Run an experiment and return its trials, one row each: `metabench run` for notebooks and scripts.

    The options are those of the command line, as Python values or as they are typed there:
    `run(algos=["NAME", "OTHER"], suites="sinusoid", seeds=3, set={"NAME.inner_lr": 0.1})`.
    Trials that the results folder holds already are not run again; what else it holds is not returned. Raises
    UserError.
    """
    from metabench.experiments.experiment import experiment

    prepared = experiment(read_options(Path(config) if config else None, options))
    for notice in prepared.notices:
        warnings.warn(notice, stacklevel=2)
    for _ in prepared.outcomes():
        pass
    trials = load(prepared.out)
    return trials[trials["trial_id"].isin([trial.id for trial in prepared.trials])].reset_index(drop=True)
