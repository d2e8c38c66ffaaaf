"""Our numbers beside published ones, with every difference in how the two were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from metabench.registry.published import Number, PublishedResults
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import text
from metabench.report.statistics.intervals import Interval, interval, stack

STEPS = "test_steps"


@dataclass(frozen=True)
class Beside:
    """One of our configurations beside one published number."""

    suite: str
    algorithm: str
    protocol: str
    metric: str
    steps: int
    """Inner steps after which we are compared: the published number's where our trials went so far."""
    ours: Interval
    seeds: int
    theirs: Number
    differences: tuple[str, ...]
    """`queries: 15 here, 1 there`."""
    not_said: tuple[str, ...]
    """What is known of other published numbers for this suite, and not of this one."""
    effects: tuple[str, ...]
    """What these differences are known to do to a number."""

    @property
    def gap(self) -> float:
        """Ours - theirs."""
        return self.ours.mean - self.theirs.value

    @property
    def half(self) -> float | None:
        """Half the width of the gap's 95% interval; None where they give none."""
        if self.theirs.half is None or not self.theirs.spread.startswith("95%"):
            return None
        return math.hypot(self.ours.half, self.theirs.half)


def against(groups: Sequence[Configuration], book: PublishedResults) -> list[Beside]:
    """Every published number that one of our configurations can be put beside, in the order of the groups."""
    found = []
    for group in groups:
        for number in book.numbers if group.steps else ():
            if same_problem(group, number) and is_nearest(group, groups, number):
                found.append(beside(group, number, book))
    return found


def same_problem(group: Configuration, number: Number) -> bool:
    """Whether a number is of this algorithm on this problem."""
    trial = group.records[0].trial
    if trial.suite != number.suite or trial.algorithm not in number.algorithms or group.metric != number.metric:
        return False
    parameters = trial.suite_parameters
    return all(
        name in parameters and any(alike(parameters[name], each) for each in values)
        for name, wanted in number.setting.items()
        for values in [wanted if isinstance(wanted, list) else [wanted]]
    )


def is_nearest(group: Configuration, groups: Iterable[Configuration], number: Number) -> bool:
    """Where a configuration was tested under both protocols, only the number's own is put beside it."""
    wanted = number.protocol.get("transductive")
    if wanted is None or transductive(group) == wanted:
        return True
    twins = (each for each in groups if (each.suite, each.algorithm) == (group.suite, group.algorithm))
    return not any(twin.steps and transductive(twin) == wanted for twin in twins)


def beside(group: Configuration, number: Number, book: PublishedResults) -> Beside:
    """The two, and what tells them apart."""
    reached = min(len(scores) for scores in group.steps.values()) - 1
    wanted = number.protocol.get(STEPS, reached)
    steps = min(reached, wanted) if isinstance(wanted, int) else reached
    here = facts(group) | {STEPS: steps}
    unlike = [name for name in sorted(number.protocol) if not alike(here.get(name), number.protocol[name])]
    stated = {name for other in book.numbers if other.suite == number.suite for name in other.protocol}
    return Beside(
        group.suite,
        group.algorithm,
        group.protocol,
        group.metric,
        steps,
        interval(stack({seed: scores[steps] for seed, scores in group.steps.items()})),
        len(group.scored_records),
        number,
        tuple(difference(name, here, number) for name in unlike),
        tuple(sorted((stated & here.keys()) - number.protocol.keys() - number.setting.keys())),
        tuple(f"{name}: {book.effects[name]}" for name in unlike if name in book.effects),
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
