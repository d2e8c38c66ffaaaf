"""Made-up trials, records and outcomes; what a test says nothing about has a value of no interest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metabench.records.record import Outcome, Record, TestScore, ValidationPoint
from metabench.records.trials import Trial


def trial(algorithm: str = "a", suite: str = "s", seed: int = 0, **fields) -> Trial:
    return Trial(
        **{"algorithm": algorithm, "suite": suite, "seed": seed, "algorithm_parameters": {}, "suite_parameters": {}}
        | fields
    )


def record(of: Trial, status: str = "ok", **fields) -> Record:
    return Record(**{"trial": of, "status": status, "reason": "" if status == "ok" else "why"} | fields)


def outcome(of: Trial, scores: Mapping[str, Sequence] | None = None, metric: str = "accuracy", **fields) -> Outcome:
    """A trial that ended well, with these scores: by protocol, the rows are inner steps, the columns test tasks.

    The record's test scores are their means over tasks; the metric is better when higher if it is an accuracy.
    """
    cells = {protocol: np.asarray(values, dtype=float) for protocol, values in (scores or {}).items()}
    tests = {
        protocol: TestScore(
            transductive=protocol == "transductive",
            score=float(values[-1].mean()),
            ci95=0.1,
            adaptation={metric: values.mean(1).tolist()},
        )
        for protocol, values in cells.items()
    }
    examples = fields.pop("examples", None)
    facts = {"metric": metric, "higher_is_better": metric == "accuracy", "tests": tests} if cells else {}
    return Outcome(
        record(of, **facts | fields),
        {protocol: {metric: values.tolist()} for protocol, values in cells.items()},
        examples,
    )


def failure(of: Trial, status: str = "error", reason: str = "why", **fields) -> Outcome:
    return Outcome(record(of, status, reason=reason, **fields), {})


def points(scores: Mapping[int, float], seconds_per_update: float = 0.0, start: float = 0.0) -> list[ValidationPoint]:
    """A validation curve: scores by update."""
    return [
        ValidationPoint(
            update=update, train_seconds=start + update * seconds_per_update, train_loss=None, score=score, ci95=0.1
        )
        for update, score in scores.items()
    ]
