"""Sweeps: of the values that were tried one stands for its algorithm, the one that the validation tasks choose.

Test scores have no say in it. So a sweep is no row of several algorithms, of which the luckiest leads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import msgspec
import pandas as pd

from metabench.records.matching import marks
from metabench.records.record import Record
from metabench.report import formatting
from metabench.report.collect import grouped
from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.collect.labels import pairs
from metabench.report.collect.tuning import were

COLUMNS = ("suite", "algorithm", "protocol", "metric", "parameters", "validation", "score", "ci95", "ok", "chosen")


def chosen_of(groups: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """The groups, of each sweep only the one that validation chooses; all of one that has no validation scores."""
    names = swept_parameters(groups)
    told = marks(record for group in groups for record in group.records)
    members = grouped((key_of(group, names, told[group.records[0].trial.id].algorithm), group) for group in groups)
    kept = []
    for (suite, algorithm, *_), points in members.items():
        best = best_point(points) if len(points) > 1 else None
        if best is None:
            kept += points
        else:
            kept.append(replace(best, swept=names[suite, algorithm], points=tuple(points)))
    return tuple(kept)


def swept_parameters(groups: Iterable[Configuration]) -> dict[tuple[str, str], tuple[str, ...]]:
    """By suite and algorithm: the parameters that any trial was part of a grid of."""
    found = grouped(((group.suite, group.records[0].trial.algorithm), group) for group in groups)
    return {
        key: tuple(sorted({name for group in members for record in group.records for name in record.trial.swept}))
        for key, members in found.items()
    }


def key_of(group: Configuration, names: dict[tuple[str, str], tuple[str, ...]], told: Any) -> tuple[str, ...]:
    """What the points of a sweep have in common: all but the swept parameters."""
    trial = group.records[0].trial
    swept = names[group.suite, trial.algorithm]
    own = {name: value for name, value in trial.algorithm_parameters.items() if name not in swept}
    rest = msgspec.json.encode([own, trial.settings("trial"), dict(told)], order="sorted").decode()
    return group.suite, trial.algorithm, group.protocol, rest


def best_point(points: Sequence[Configuration]) -> Configuration | None:
    """The best on the validation tasks, of those with the most seeds that ended well; None where none is known."""
    known = [point for point in points if not math.isnan(validation(point))]
    if not known:
        return None
    sign = 1 if known[0].higher_is_better else -1
    return max(known, key=lambda point: (len(point.steps), sign * validation(point)))


def validation(point: Configuration) -> float:
    """The mean over seeds of the best validation score; NaN where there is none."""
    scores = [best for record in point.scored_records if not math.isnan(best := best_validation(record))]
    return fmean(scores) if scores else math.nan


def best_validation(record: Record) -> float:
    """Of the state that was tested, if there was a choice."""
    scores = [point.score for point in record.curve if math.isfinite(point.score)]
    return (max if record.higher_is_better else min)(scores, default=math.nan)


def values(point: Configuration, swept: Sequence[str]) -> dict[str, Any]:
    """The swept parameters of a point."""
    parameters = point.records[0].trial.algorithm_parameters
    return {name: parameters[name] for name in swept if name in parameters}


def cautions(groups: Sequence[Configuration]) -> Iterator[str]:
    """What a reader should know of each sweep: what was chosen by what, and whom that favours."""
    for suite, members in grouped((group.suite, group) for group in first_of_each_suite(groups)).items():
        swept = [group for group in members if group.swept]
        for group in swept:
            best = formatting.score(validation(group), group.metric)
            name = group.records[0].trial.algorithm
            yield (
                f"{name} on {suite} was swept over {len(group.points)} settings; {pairs(values(group, group.swept))} "
                f"has the best validation score ({best}) and stands for it. Test scores had no say in it."
            )
        others = [group.algorithm for group in members if not group.swept]
        if swept and others:
            yield (
                f"Caution: on {suite} {formatting.listed(others)} {were(others)} not swept. The comparison favours "
                "what was."
            )


def first_of_each_suite(groups: Sequence[Configuration]) -> list[Configuration]:
    """One for each algorithm of each suite."""
    return [one for members in grouped((g.suite, g) for g in groups).values() for one in first_of_each(members)]


def tables(groups: Sequence[Configuration]) -> dict[str, pd.DataFrame]:
    """tables/sweeps.csv: a row for each setting that was tried; nothing where none was swept."""
    rows = []
    for group in groups:
        for point in group.points:
            score = point.score()
            rows.append(
                (group.suite, group.records[0].trial.algorithm, group.protocol, group.metric,
                 pairs(values(point, group.swept)), validation(point), score.mean, score.half, len(point.steps),
                 point.algorithm == group.algorithm)
            )  # fmt: skip
    return {"sweeps": pd.DataFrame(rows, columns=list(COLUMNS))} if rows else {}
