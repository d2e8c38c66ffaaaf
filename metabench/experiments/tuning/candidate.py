"""What is to be tuned, and one proposal with what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from metabench.experiments.tuning.space import Space
from metabench.records.record import Record
from metabench.records.trials import Trial

if TYPE_CHECKING:
    import optuna


class SearchSpec(NamedTuple):
    """What is to be tuned, and how much. Plain data."""

    base: Trial
    """The settings where it begins; its seed is the first of `seeds`."""
    space: Space
    higher_is_better: bool
    trials: int
    seeds: tuple[int, ...]
    sampler_seed: int

    @property
    def name(self) -> str:
        return f"{self.base.suite} {self.base.algorithm}"


class Candidate:
    """One proposal, and the records of its trials so far: one a seed."""

    def __init__(self, optuna_trial: optuna.Trial, parameters: dict[str, Any], earlier: Candidate | None) -> None:
        self.optuna_trial = optuna_trial
        self.parameters = parameters
        self.repeats = earlier is not None
        """Whether an earlier candidate has the same parameters: it shares its records, and nothing is run again."""
        self.records: list[Record] = earlier.records if earlier else []
        self.seeds_left: list[Trial] = earlier.seeds_left if earlier else []

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to run."""
        return bool(self.records) and (self.records[-1].status != "ok" or not self.seeds_left)

    @property
    def status(self) -> str:
        """`ok` if it has a score; `pruned`; `failed`, which includes those that diverged."""
        last = self.records[-1].status if self.over else ""
        return last if last in ("ok", "pruned", "") else "failed"
