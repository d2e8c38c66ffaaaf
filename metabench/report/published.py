"""Our numbers beside published ones, with every difference in how the two were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from metabench.records.columns import PUBLISHED
from metabench.records.record import Record
from metabench.registry.published import Number, PublishedResults
from metabench.report import formatting
from metabench.report.collect.configurations import Configuration, collect
from metabench.report.statistics.intervals import Interval, interval, stack
from metabench.report.unlike import Unlike, alike, difference

STEPS = "test_steps"
Verdict = Literal["reproduced", "not reproduced", "undecided", "not comparable"]
SEEDS, TASKS = 3, 600
"""Fewer decide nothing."""


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
    differences: tuple[Unlike, ...]
    """The settings in which the two are not alike."""
    not_said: tuple[str, ...]
    """What is known of other published numbers for this suite, and not of this one."""
    effects: tuple[str, ...]
    """What these differences are known to do to a number."""
    source: str
    note: str
    verdict: Verdict
    reason: str
    """Why the verdict is none, or no other."""


def against(
    groups: Sequence[Configuration], book: PublishedResults, numbers: Sequence[Number] | None = None
) -> list[Beside]:
    """Every published number, or those of `numbers`, that one of our configurations can be put beside, in the order
    of the groups."""
    return [
        beside(group, number, book)
        for group in groups
        for number in (book.numbers if numbers is None else numbers)
        if group.steps and same_problem(group, number) and is_nearest(group, groups, number)
    ]


def beside_row(
    records: Iterable[Record], results: Path, numbers: Sequence[Number], book: PublishedResults
) -> list[Beside]:
    """The trials that were to make some numbers again beside these."""
    return against(collect(records, results), book, numbers)


def same_problem(group: Configuration, number: Number) -> bool:
    """Whether a number is of this algorithm on this problem."""
    trial = group.records[0].trial
    if trial.suite != number.suite or trial.algorithm not in number.algorithms or group.metric != number.metric:
        return False
    parameters = tested(trial.suite_parameters, number)
    return all(
        name in parameters and any(alike(parameters[name], value) for value in values)
        for name, wanted in number.setting.items()
        for values in [wanted if isinstance(wanted, list) else [wanted]]
    )


def tested(parameters: Mapping[str, Any], number: Number) -> dict[str, Any]:
    """Of a suite, or of each of two: with the shots and ways of the test where these are its own."""
    own = {
        name.replace("test_", ""): value
        for name, value in parameters.items()
        if name.rpartition(".")[2] in ("test_shots", "test_ways") and value and name not in number.setting
    }
    return {**parameters, **own}


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
    wanted = (number.ours | number.protocol).get(STEPS, reached)
    steps = min(reached, wanted) if isinstance(wanted, int) else reached
    here = facts(group) | {STEPS: steps}
    for name in here:  # what a source that does without need not deny
        of_suite = name.rpartition(".")[2] in ("weights", "train_ways", "test_ways", "augment")
        if of_suite and here[name] and name not in number.protocol.keys() | number.setting.keys():
            number = number._replace(protocol={**number.protocol, name: "nothing said of it"})
    unlike = [name for name in sorted(number.protocol) if not alike(here.get(name), number.protocol[name])]
    ours_is = [name for name, value in sorted(number.ours.items()) if value != "" and name not in unlike]
    unlike += [name for name in ours_is if not alike(here.get(name), number.ours[name])]
    stated = {name for other in book.numbers if other.suite == number.suite for name in other.protocol}
    ours = interval(stack({seed: scores[steps] for seed, scores in group.steps.items()}))
    half = interval_half(number)
    verdict, reason = judge(ours, number, [name for name in unlike if hinders(name, here, number)])
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
        verdict=verdict,
        reason=reason,
    )


def interval_half(number: Number) -> float | None:
    """Half of the number's 95% interval; None where what its source gives is another spread, or nothing."""
    return number.half if number.spread.startswith("95%") else None


def hinders(name: str, here: dict[str, Any], number: Number) -> bool:
    """Whether a difference forbids a verdict; how many seeds and test tasks there are only decides how sure it is."""
    if name in ("seeds", "test_tasks"):
        return False
    if name not in number.ours:
        return True
    return number.ours[name] != "" and not alike(here.get(name), number.ours[name])


def judge(ours: Interval, number: Number, hindrances: Sequence[str]) -> tuple[Verdict, str]:
    """Whether a number is reproduced, and why not; `hindrances` are facts that forbid to say.

    The gap may be as large as the source's half-width, or as ours where it has none.
    """
    if hindrances:
        return "not comparable", f"by {formatting.listed(hindrances)}"
    gap, half = abs(ours.mean - number.value), interval_half(number)
    for least, found, noun in ((SEEDS, ours.seeds, "seed"), (TASKS, ours.tasks, "test task")):
        if found < least:
            return "undecided", f"{formatting.count(found, noun)}, of at least {least}"
    if gap <= (half or ours.half):
        return "reproduced", ""
    if gap <= math.hypot(ours.half, half or 0.0):
        return "undecided", "the gap is larger than the source's half-width, but within both together"
    if "updates" not in number.protocol | number.ours:
        return "undecided", "the source does not say how many updates it took"
    return "not reproduced", ""


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


def paragraph(row: Beside) -> list[str]:
    """A row in lines, as a terminal shows it."""
    seen = shown(row)
    ours = f"{seen['ours']} ({formatting.count(row.seeds, 'seed')}, {row.protocol})"
    lines = [("ours", ours), ("published", f"{seen['published']}, {row.source}"), ("gap", seen["gap"])]
    lines += [("verdict", seen["verdict"])]
    lines += [("differs", str(each)) for each in row.differences] + [("effect", text) for text in row.effects]
    lines += [("not said", ", ".join(row.not_said))] if row.not_said else []
    lines += [("note", row.note)] if row.note else []
    steps = formatting.count(row.test_steps, "inner step")
    return [f"{row.algorithm} on {row.suite}, {row.metric} after {steps}"] + [f"  {a:<10}{b}" for a, b in lines]


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
    return {
        name: "; ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in vars(row).items()
    }


def shown(row: Beside) -> dict[str, str]:
    """A row as a reader sees it, by heading."""
    unsaid = f". Not said: {', '.join(row.not_said)}" if row.not_said else ""
    values = as_texts(row)
    values["differences"] = (values["differences"] or "none that is known") + unsaid
    return {column.heading: formatting.text(column, values) for column in PUBLISHED}
