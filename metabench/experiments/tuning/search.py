"""One algorithm on one suite: Optuna proposes candidates in rounds, their validation curves are told back.

Nothing but records is kept: the candidates of a round are a function of the seed and of the rounds before, so tuning
again replays what is on disk and goes on. For the same reason it does not matter how many trials run at once.
"""

from __future__ import annotations

import hashlib
import statistics
from typing import Any

import msgspec

from metabench.errors import UserError
from metabench.experiments.recipes import Tuned, without_null
from metabench.experiments.tuning.candidate import Candidate, SearchSpec
from metabench.experiments.tuning.space import Dimension
from metabench.records.record import Record
from metabench.records.trials import Trial

try:
    import optuna
except ImportError:
    raise UserError("metabench tune needs Optuna: pip install 'metabench[tune]'.") from None

ROUND = 5
"""Candidates that are proposed together."""
MIN_ENDED = 4
"""Candidates trained to their end without which nothing is pruned."""
WARMUP_SHARE = 0.25
"""The share of the updates before which nothing is pruned."""
DIGITS = 4
"""Significant ones of a proposed number."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """The state of tuning one algorithm on one suite."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.sign = 1 if spec.higher_is_better else -1
        self.study = optuna.create_study(direction="maximize" if spec.higher_is_better else "minimize")
        self.distributions = {name: distribution(dimension) for name, dimension in spec.space.items()}
        start = {name: spec.base.algorithm_parameters[name] for name in spec.space}
        self.untuned = start if all(dimension.holds(start[name]) for name, dimension in spec.space.items()) else None
        """The first candidate, unless the space leaves it out."""
        if self.untuned:
            self.study.enqueue_trial(self.untuned)
        self.candidates: list[Candidate] = []
        self.told = 0
        """Candidates of earlier rounds."""
        self.of: dict[str, Candidate] = {}
        """By trial id."""

    @property
    def done(self) -> bool:
        """Whether every candidate is over."""
        return len(self.candidates) == self.spec.trials and all(candidate.over for candidate in self.candidates)

    def ask(self) -> list[Trial]:
        """The first trials of the next round in which there is anything to run; none when all have been proposed."""
        opened: list[Trial] = []
        while not opened and len(self.candidates) < self.spec.trials:
            for candidate in self.candidates[self.told :]:
                self.tell(candidate)
            self.told = len(self.candidates)
            opened = self.propose()
        return opened

    def propose(self) -> list[Trial]:
        """A round of candidates; the first trials of those that repeat none."""
        thresholds = self.pruning_thresholds()
        opened = []
        for number in range(self.told, min(self.told + ROUND, self.spec.trials)):
            self.study.sampler = optuna.samplers.TPESampler(seed=self.seed(number))
            optuna_trial = self.study.ask(self.distributions)
            parameters = {name: round_digits(value) for name, value in optuna_trial.params.items()}
            if number == 0 and self.untuned:
                parameters = self.untuned
            earlier = next((other for other in self.candidates if other.parameters == parameters), None)
            candidate = Candidate(optuna_trial, parameters, earlier)
            self.candidates.append(candidate)
            if earlier:
                continue
            first, *rest = (self.trial(candidate, seed) for seed in self.spec.seeds)
            candidate.seeds_left = rest
            first = msgspec.structs.replace(first, pruning_thresholds=thresholds)
            for trial in (first, *rest):
                self.of[trial.id] = candidate
            opened.append(first)
        return opened

    def take(self, record: Record) -> list[Trial]:
        """A trial has ended: the trials that it leads to."""
        candidate = self.of[record.trial.id]
        candidate.records.append(record)
        if not candidate.over:
            return [candidate.seeds_left.pop(0)]
        return self.ask() if all(other.over for other in self.candidates) else []

    def tell(self, candidate: Candidate) -> None:
        """Let Optuna know; what was pruned or failed stands behind all that has a score."""
        for point in candidate.records[0].curve:
            candidate.optuna_trial.report(point.score, point.update)
        if candidate.status == "ok":
            self.study.tell(candidate.optuna_trial, self.score(candidate))
        else:
            self.study.tell(candidate.optuna_trial, state=optuna.trial.TrialState.PRUNED)

    def trial(self, candidate: Candidate, seed: int) -> Trial:
        """The trial of a candidate at a seed, which ends before the test."""
        base = self.spec.base
        return msgspec.structs.replace(
            base,
            algorithm_parameters={**base.algorithm_parameters, **candidate.parameters},
            budget=msgspec.structs.replace(base.budget, test_tasks=0),
            seed=seed,
        )

    def pruning_thresholds(self) -> tuple[tuple[int, float], ...]:
        """At each later validation the median, over the candidates that were trained to their end in earlier rounds,
        of the best score so far: Optuna's median rule."""
        ended = [candidate for candidate in self.candidates if candidate.status == "ok" and not candidate.repeats]
        curves = [self.best_so_far(candidate.records[0]) for candidate in ended]
        if len(curves) < MIN_ENDED:
            return ()
        updates = self.spec.base.budget.updates
        points = [update for update in curves[0] if WARMUP_SHARE * updates <= update < updates]
        return tuple((update, statistics.median(curve[update] for curve in curves)) for update in points)

    def best_so_far(self, record: Record) -> dict[int, float]:
        """By update."""
        curve: dict[int, float] = {}
        best: float | None = None
        for point in record.curve:
            best = point.score if best is None or self.sign * point.score > self.sign * best else best
            curve[point.update] = best
        return curve

    def score(self, candidate: Candidate) -> float:
        """The mean over seeds of the best validation score: that of the state that a trial would test."""
        bests = (list(self.best_so_far(record).values())[-1] for record in candidate.records)
        return statistics.fmean(bests)

    def best(self) -> Candidate | None:
        """The best candidate so far, the earliest of equals; None where none has a score."""
        scored = [candidate for candidate in self.candidates if candidate.status == "ok"]
        return max(scored, key=lambda candidate: self.sign * self.score(candidate), default=None)

    def count(self, status: str) -> int:
        """How many candidates ended so."""
        return sum(candidate.status == status for candidate in self.candidates)

    def seed(self, number: int) -> int:
        """Of the sampler, for one candidate."""
        path = f"{self.spec.sampler_seed}/{self.spec.base.suite}/{self.spec.base.algorithm}/{number}"
        return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big")

    @property
    def first_end(self) -> str:
        """What became of the first candidate, for a search in which none has a score."""
        last = self.candidates[0].records[-1]
        return f"{last.status}, {last.reason}"

    def tuned(self) -> Tuned | None:
        """What the recipe file says; None where no candidate has a score."""
        best, first = self.best(), self.candidates[0]
        if best is None:
            return None
        budget = msgspec.structs.asdict(self.spec.base.budget)
        del budget["test_tasks"]
        records = [record for candidate in self.candidates if not candidate.repeats for record in candidate.records]
        spent = sum(max((point.update for point in record.curve), default=0) for record in records)
        return Tuned(
            trials=len(self.candidates),
            pruned=self.count("pruned"),
            failed=self.count("failed"),
            updates=budget["updates"],
            updates_spent=spent,
            validation_score=self.score(best),
            untuned_score=self.score(first) if self.untuned and first.status == "ok" else None,
            higher_is_better=self.spec.higher_is_better,
            seeds=self.spec.seeds,
            sampler=f"optuna {optuna.__version__} TPESampler, seed {self.spec.sampler_seed}, rounds of {ROUND}",
            parameters=without_null({**self.spec.base.algorithm_parameters, **best.parameters}),
            budget=budget,
            space={name: str(dimension) for name, dimension in self.spec.space.items()},
        )


def distribution(dimension: Dimension) -> Any:
    """Optuna's."""
    if dimension.kind == "choice":
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def round_digits(value: Any) -> Any:
    """A proposed number with the digits that matter."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
