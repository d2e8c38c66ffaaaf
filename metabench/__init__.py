"""metabench: gradient-based meta-learners, compared fairly. From Python: run(...), load(...), load_learner(...)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.errors import UserError
from metabench.experiments.learners import load_learner
from metabench.experiments.read_options import read_options, with_keywords
from metabench.experiments.scoring import score
from metabench.records.frames import load, load_tasks

if TYPE_CHECKING:
    from pandas import DataFrame

    from metabench.report.figures.catalogue import Picture

__all__ = ["UserError", "figures", "load", "load_learner", "load_tasks", "reproduce", "run", "score"]
__version__ = version("metabench")


@with_keywords
def run(config: str | Path | None = None, **options: Any) -> DataFrame:
    """Run an experiment and return its trials, one row each: `metabench run` for notebooks and scripts.

    The options are those of the command line, as Python values or as they are typed there:
    `run(algos=["NAME", "OTHER"], suites="sinusoid", seeds=3, set={"NAME.inner_lr": 0.1})`.
    Trials that the results folder holds already are not run again; what else it holds is not returned. Raises
    UserError. In a notebook the progress is shown.
    """
    from metabench.cli.notebook import run_shown
    from metabench.experiments.experiment import experiment

    prepared = experiment(read_options(Path(config) if config else None, options))
    run_shown(prepared)
    trials = load(prepared.out)
    return trials[trials["trial_id"].isin([trial.id for trial in prepared.trials])].reset_index(drop=True)


def figures(results: str | Path | list[str | Path]) -> dict[str, Picture]:
    """Every figure of the report on a results folder, or several, by its name, as `sinusoid-scores`.

    A notebook shows it; `.words` has its numbers and `.content["svg"]` its file. Raises UserError.
    """
    from metabench.report.build import figures as drawn

    return drawn(results)


def reproduce(row: str, against: str | Path = "paper", **options: Any) -> DataFrame:
    """Make a published number again and compare: `metabench reproduce` from Python, one row each number.

    `row` are words that name a row of published numbers, as in `metabench reproduce --list`; `against` may be a TOML
    file of such numbers. The options are those of `run`, and go before what the row says. Raises UserError. In a
    notebook the progress is shown.
    """
    from metabench.cli.notebook import run_shown
    from metabench.experiments.reproduce import reproduced_records, reproduction
    from metabench.report.published import beside_row, frame

    made = reproduction(row, options, str(against))
    run_shown(made.planned)
    return frame(beside_row(reproduced_records(made), made.planned.out, made.row.numbers, made.book))
