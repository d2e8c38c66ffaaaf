"""Grids: `--set NAME.inner_lr=0.01,0.05,0.1` asks for a trial at each value, several of them for their product."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.records.domains import read_value
from metabench.registry.discovery import Entry
from metabench.registry.parameters import Parameter, shown

MAX_TRIALS = 1000
"""Of a run with a grid."""


Suite = tuple[Entry, ...]
"""A suite, and those that it is made of, whose settings it takes."""


class Point(NamedTuple):
    """One combination of values."""

    options: Options
    """With these values alone."""
    swept: tuple[str, ...]
    """The parameters of which there are several values."""


def points(options: Options, *entries: Entry) -> Iterator[Point]:
    """Each combination of the values that `--set` gives of these; one where there is no grid."""
    grid = {(entry.name, name): values for entry in entries for name, values in grid_of(options, entry).items()}
    swept = tuple(name for (_, name), values in grid.items() if len(values) > 1)
    for combination in itertools.product(*grid.values()):
        settings = {**options.set, **{entry.name: {} for entry in entries if entry.name in options.set}}
        for (owner, name), value in zip(grid, combination):
            settings[owner] = {**settings[owner], name: value}
        yield Point(msgspec.structs.replace(options, set=settings), swept)


def grid_of(options: Options, entry: Entry) -> dict[str, list[Any]]:
    """By parameter the values that it is to have, mostly one. Raises UserError."""
    given = options.set.get(entry.name, {})
    return {name: values_of(entry, name, value) for name, value in given.items()}


def values_of(entry: Entry, name: str, value: Any) -> list[Any]:
    """The values of one parameter: several where the value is none as it stands, but a list of such.

    What is wrong with a value or a name is for `Entry.resolve` to say. Raises UserError for what is no grid.
    """
    parameter = entry.parameters.get(name)
    if parameter is None or fits(parameter, value):
        return [value]
    if isinstance(value, str) and "," in value:
        parts = [read_value(part.strip()) for part in value.split(",")]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return [value]
    if not parts:
        raise UserError(f"The list of values for '{entry.name}.{name}' is empty.")
    if holds_several(parameter.type) or any(isinstance(part, list | tuple | dict) for part in parts):
        raise UserError(
            f"Cannot read '{entry.name}.{name}': a grid is of numbers, switches or choices, and {entry.owner} takes "
            f"{parameter.kind} here, not {shown(value)}. A value that holds commas is written as JSON."
        )
    for part in parts:
        entry.resolve({name: part})
    known = {json.dumps(parameter.read(part)): part for part in parts}
    return list(known.values())


def fits(parameter: Parameter, value: Any) -> bool:
    """Whether it is a value of the parameter as it stands."""
    try:
        parameter.read(value)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def holds_several(kind: Any) -> bool:
    """Whether a value of this type is a list itself."""
    return any((get_origin(each) or each) in (list, tuple, set, frozenset, dict) for each in (kind, *get_args(kind)))


def size(options: Options, entries: Iterable[Entry]) -> int:
    """How many points there are."""
    return math.prod(len(values) for entry in entries for values in grid_of(options, entry).values())


def refuse_too_many(options: Options, suites: Sequence[Suite], algorithms: Sequence[Entry], seeds: int) -> None:
    """Raise UserError for a grid of more trials than anybody means, before it is laid out."""
    of_suites = [size(options, each) for each in suites]
    of_algorithms = [size(options, [each]) for each in algorithms]
    count = seeds * sum(of_suites) * sum(of_algorithms)
    if count > MAX_TRIALS and max(*of_suites, *of_algorithms) > 1:
        raise UserError(
            f"This grid is {count:,} trials, and {MAX_TRIALS:,} is the most: give fewer values, seeds, algorithms or "
            "suites, or search with `metabench tune`."
        )


def refuse_grids(options: Options, entries: Iterable[Entry]) -> None:
    """Raise UserError for several values where one is needed: in tuning."""
    for entry in entries:
        for name, values in grid_of(options, entry).items():
            if len(values) > 1:
                raise UserError(
                    f"'{entry.name}.{name}' has {len(values)} values: tuning sets one with --set, and searches those "
                    f"of --space {entry.name}.{name}=..."
                )
