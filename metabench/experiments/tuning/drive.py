"""Run the candidates of all searches, a round of each at a time, through the executors that every run uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from metabench.errors import attempt
from metabench.experiments.experiment import Experiment
from metabench.experiments.recipes import RecipeFile, Tuned, TunedSuite, encoded, without_null
from metabench.experiments.tuning.plan import TuningPlan
from metabench.experiments.tuning.search import Search
from metabench.records import store
from metabench.records.files import DamagedError, write_atomically
from metabench.records.record import Outcome, Record
from metabench.records.trials import Trial


class TuningRun:
    """All searches of one command."""

    def __init__(self, plan: TuningPlan) -> None:
        self.plan = plan
        self.searches = [Search(spec) for spec in plan.specs]
        self.of: dict[str, Search] = {}
        """By trial id."""
        self.replayed = 0
        """Trials that were on disk already."""

    @property
    def done(self) -> bool:
        """Whether every candidate of every search is over."""
        return all(search.done for search in self.searches)

    def begin(self) -> tuple[Trial, ...]:
        """What is to be run first, after all that is on disk was replayed."""
        return tuple(trial for search in self.searches for trial in self.replay(search, search.ask()))

    def replay(self, search: Search, trials: Iterable[Trial]) -> list[Trial]:
        """Of these trials, and those that they lead to, the ones that have no record."""
        waiting, left = list(trials), []
        while waiting:
            trial = waiting.pop(0)
            self.of[trial.id] = search
            record = self.record_of(trial)
            if record is None:
                left.append(trial)
            else:
                self.replayed += 1
                waiting += search.take(record)
        return left

    def record_of(self, trial: Trial) -> Record | None:
        """Its record, if it has one; a damaged one is set aside."""
        try:
            return store.record_of(self.plan.out, trial.id)
        except DamagedError:
            store.set_aside_damaged(self.plan.out, trial.id)
            return None

    def more(self, outcome: Outcome) -> list[Trial]:
        """The trials that an outcome leads to."""
        search = self.of[outcome.record.trial.id]
        return self.replay(search, search.take(outcome.record))

    def run(
        self,
        first: tuple[Trial, ...],
        on_progress: Callable[[Any], None],
        on_record: Callable[[Record], None],
        stopping: Callable[[], int],
    ) -> None:
        """Run all that is left, or until asked to stop."""
        plan = self.plan
        experiment = Experiment(plan.out, plan.options, first, first, plan.execution, plan.jobs)
        for outcome in experiment.outcomes(on_progress, stopping, self.more):
            on_record(outcome.record)

    def write(self, path: Path) -> list[Search]:
        """Write the recipe file; the searches in which no candidate has a score. Raises UserError."""
        by_suite: dict[str, dict[str, Tuned]] = {}
        without = []
        for search in self.searches:
            if (tuned := search.tuned()) is None:
                without.append(search)
            else:
                by_suite.setdefault(search.spec.base.suite, {})[search.spec.base.algorithm] = tuned
        bases = [search.spec.base for search in self.searches]
        parameters = {base.suite: without_null(base.suite_parameters) for base in bases}
        start = self.plan.options.recipe or "quick"
        suites = {
            suite: TunedSuite(base=start, parameters=parameters[suite], algorithms=algorithms)
            for suite, algorithms in by_suite.items()
        }
        if suites:
            with attempt(f"write the recipe '{path}'"):
                write_atomically(path, encoded(RecipeFile(suites=suites)))
        return without
