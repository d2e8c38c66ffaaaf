"""Our numbers beside published ones, with every difference in how the two were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from metabench.records.columns import PUBLISHED
from metabench.registry.published import Number, PublishedResults
from metabench.report import formatting
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import text
from metabench.report.statistics.intervals import interval, stack

STEPS = "test_steps"


@dataclass(frozen=True)
class Beside:
    """One of our configurations beside one published number: a row of tables/published.csv."""

    suite: str
    algorithm: str
    protocol: str
    metric: str
    test_steps: int
    """Inner steps after which we are compared: the published number's where our trials went so far."""
    score: float
    ci95: float
    seeds: int
    published: float
    published_half: float | None
    spread: str
    """What `published_half` is."""
    gap: float
    """Ours - theirs."""
    gap_ci95: float | None
    """Half the width of the gap's 95% interval; None where they give none."""
    differences: tuple[str, ...]
    """`queries: 15 here, 1 there`."""
    not_said: tuple[str, ...]
    """What is known of other published numbers for this suite, and not of this one."""
    effects: tuple[str, ...]
    """What these differences are known to do to a number."""
    source: str
    note: str


def against(groups: Sequence[Configuration], book: PublishedResults) -> list[Beside]:
    """Every published number that one of our configurations can be put beside, in the order of the groups."""
    return [
        beside(group, number, book)
        for group in groups
        for number in book.numbers
        if group.steps and same_problem(group, number) and is_nearest(group, groups, number)
    ]


def same_problem(group: Configuration, number: Number) -> bool:
    """Whether a number is of this algorithm on this problem."""
    trial = group.records[0].trial
    if trial.suite != number.suite or trial.algorithm not in number.algorithms or group.metric != number.metric:
        return False
    parameters = trial.suite_parameters
    return all(
        name in parameters and any(alike(parameters[name], value) for value in values)
        for name, wanted in number.setting.items()
        for values in [wanted if isinstance(wanted, list) else [wanted]]
    )


def is_nearest(group: Configuration, groups: Iterable[Configuration], number: Number) -> bool:
    """Where a configuration was tested under both protocols, only the number's own is put beside it."""
    wanted = number.protocol.get("transductive")
    if wanted is None or transductive(group) == wanted:
        return True
    twins = (other for other in groups if (other.suite, other.algorithm) == (group.suite, group.algorithm))
    return not any(twin.steps and transductive(twin) == wanted for twin in twins)


def beside(group: Configuration, number: Number, book: PublishedResults) -> Beside:
    """The two, and what differs between them."""
    reached = min(len(scores) for scores in group.steps.values()) - 1
    wanted = number.protocol.get(STEPS, reached)
    steps = min(reached, wanted) if isinstance(wanted, int) else reached
    here = facts(group) | {STEPS: steps}
    unlike = [name for name in sorted(number.protocol) if not alike(here.get(name), number.protocol[name])]
    stated = {name for other in book.numbers if other.suite == number.suite for name in other.protocol}
    ours = interval(stack({seed: scores[steps] for seed, scores in group.steps.items()}))
    half = number.half if number.spread.startswith("95%") else None
    return Beside(
        **group.named(),
        test_steps=steps,
        score=ours.mean,
        ci95=ours.half,
        seeds=len(group.scored_records),
        published=number.value,
        published_half=number.half,
        spread=number.spread,
        gap=ours.mean - number.value,
        gap_ci95=None if half is None else math.hypot(ours.half, half),
        differences=tuple(difference(name, here, number) for name in unlike),
        not_said=tuple(sorted((stated & here.keys()) - number.protocol.keys() - number.setting.keys())),
        effects=tuple(f"{name}: {book.effects[name]}" for name in unlike if name in book.effects),
        source=number.source,
        note=number.note,
    )


def facts(group: Configuration) -> dict[str, Any]:
    """How our number was made, by the names of the settings."""
    return {
        **group.records[0].trial.settings(),
        "transductive": transductive(group),
        "seeds": len(group.scored_records),
        "selection": ", ".join(sorted({record.selection for record in group.scored_records})),
    }


def transductive(group: Configuration) -> bool:
    return any(
        record.tests[group.protocol].transductive for record in group.scored_records if group.protocol in record.tests
    )


def alike(ours: Any, theirs: Any) -> bool:
    """Equal as settings: 1 and 1.0 are, 1 and true are not."""
    return isinstance(ours, bool) == isinstance(theirs, bool) and ours == theirs


def difference(name: str, here: dict[str, Any], number: Number) -> str:
    """`queries: 15 here, 1 there`."""
    ours = f"{words(here[name])} here" if name in here else "no setting here"
    return f"{name}: {ours}, {words(number.protocol[name])} there"


def words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else text(value)


def nothing(groups: Iterable[Configuration], book: PublishedResults) -> str:
    """The line in place of a table where nothing can be compared."""
    ours = ", ".join(sorted({group.suite for group in groups}))
    theirs = ", ".join(sorted({number.suite for number in book.numbers})) or "no suite"
    return f"No published number is for these algorithms in these settings of {ours}; there are numbers for {theirs}."


def frame(rows: Iterable[Beside]) -> pd.DataFrame:
    """The numbers as they are: tables/published.csv."""
    names = [field.name for field in fields(Beside)]
    return pd.DataFrame([as_texts(row) for row in rows], columns=names)


def as_texts(row: Beside) -> dict[str, Any]:
    """A row by column, its lists as texts."""
    return {name: "; ".join(value) if isinstance(value, tuple) else value for name, value in vars(row).items()}


def shown(row: Beside) -> dict[str, str]:
    """A row as a reader sees it, by heading."""
    unsaid = f". Not said: {', '.join(row.not_said)}" if row.not_said else ""
    values = as_texts(row)
    values["differences"] = (values["differences"] or "none that is known") + unsaid
    return {column.heading: formatting.text(column, values) for column in PUBLISHED}
