"""The transfer gap: what training on the suite of the test gives over training on another, paired on its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metabench.records.columns import TRANSFER
from metabench.records.domains import domains
from metabench.report import formatting
from metabench.report.collect.configurations import Configuration
from metabench.report.statistics.effects import cohens_d
from metabench.report.statistics.intervals import Interval, difference


@dataclass(frozen=True)
class Gap:
    """One configuration that was tested on another suite than it was trained on, beside what it is compared with."""

    near: Configuration
    """Trained and tested on one suite."""
    far: Configuration
    """Trained on one suite and tested on another."""
    kind: str
    """`transfer`: near was trained on the suite that both are tested on, and meets the same tasks. `shift`: both are
    one training, and near meets the tasks as they are, far the same ones shifted."""
    gap: Interval
    """near - far, in the metric's unit; paired on seeds and tasks."""

    @property
    def effect(self) -> float:
        """Cohen's d of the scores."""
        near, far = (np.concatenate(list(group.final.values())) for group in (self.near, self.far))
        return cohens_d(near, far)


def gaps(groups: Sequence[Configuration]) -> list[Gap]:
    """Every crossed configuration beside its counterparts: the same algorithm by its label, protocol and metric."""
    scored = [group for group in groups if group.steps]
    return [
        Gap(near, far, kind, difference(near.final, far.final))
        for far in scored
        if is_crossed(far)
        for near in scored
        if (near.algorithm, near.protocol, near.metric) == (far.algorithm, far.protocol, far.metric)
        if (kind := relation(near, far))
    ]


def counterparts(suite: str, found: Sequence[Gap]) -> list[Configuration]:
    """The configurations that those of a suite are compared with here; none for one that is not crossed."""
    return list({id(gap.near): gap.near for gap in found if gap.far.suite == suite}.values())


def is_crossed(group: Configuration) -> bool:
    return len(domains(group.records[0].trial.suite)) > 1


def relation(near: Configuration, far: Configuration) -> str:
    """See Gap.kind; empty where the two have nothing to do with each other."""
    source, target = domains(far.records[0].trial.suite)
    (own, *others) = domains(near.records[0].trial.suite)
    if others:
        return ""
    if own.name == target.name:
        return "transfer" if test_tasks(near) == test_tasks(far) else ""
    here, there = (group.records[0].trial.suite_parameters for group in (near, far))
    trained = all(there.get(f"{source.name}.{name}") == value for name, value in here.items())
    same_draws = (source.suite, source.parameters) == (target.suite, target.parameters)
    return "shift" if own.name == source.name and trained and same_draws and not source.shifts else ""


def test_tasks(group: Configuration) -> set[str | None]:
    """The digests of the test tasks that it met."""
    return {record.provenance.digests.tests for record in group.scored_records}


def row(gap: Gap) -> dict[str, Any]:
    """One row of tables/transfer.csv."""
    near, far = gap.near.score(), gap.far.score()
    return {
        "suite": gap.far.suite, "against": gap.near.suite, "kind": gap.kind, "algorithm": gap.far.algorithm,
        "protocol": gap.far.protocol, "metric": gap.far.metric,
        "near": near.mean, "near_ci95": near.half, "far": far.mean, "far_ci95": far.half,
        "gap": gap.gap.mean, "gap_ci95": gap.gap.half, "cohens_d": gap.effect,
        "seeds": gap.gap.seeds, "tasks": gap.gap.tasks, "selection": validated(gap.far),
    }  # fmt: skip


def validated(group: Configuration) -> str:
    """On whose validation tasks the state that was tested was chosen."""
    chosen = sorted({record.selection for record in group.scored_records if record.selection})
    whose = group.records[0].trial.suite_parameters.get("validate", "source")
    return f"{', '.join(chosen)} ({whose})" if group.trained else ", ".join(chosen)


def tables(found: Sequence[Gap]) -> dict[str, pd.DataFrame]:
    """`transfer`, where something was crossed and its counterpart is there."""
    return {"transfer": pd.DataFrame([row(gap) for gap in found])} if found else {}


def shown(found: Iterable[Gap]) -> list[dict[str, str]]:
    """The rows as a reader sees them, by heading."""
    return [{column.heading: formatting.text(column, row(gap)) for column in TRANSFER} for gap in found]
