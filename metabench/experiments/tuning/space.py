"""The search space: read from a factory's keyword-only parameters, narrowed or widened by `--space`."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from metabench.errors import UserError, missing, one_line
from metabench.registry.discovery import Entry
from metabench.registry.parameters import Parameter, type_name

FACTOR = 30.0
"""How far around its starting point a step size is searched."""
MIN_STEPS = 5
"""Up to how many inner steps are searched at least."""
EXAMPLE = "--space NAME.inner_lr=0.01:1:log or --space NAME.inner_steps=1,3,5"


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """What one parameter may be: from `low` to `high`, or one of `choices`."""

    kind: Literal["float", "int", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.kind == "choice":
            return ",".join(choice if isinstance(choice, str) else json.dumps(choice) for choice in self.choices)
        low, high = (f"{end:.6g}" if self.kind == "float" else f"{end:.0f}" for end in (self.low, self.high))
        return f"{low}:{high}" + (":log" if self.log else "")

    def holds(self, value: Any) -> bool:
        """Whether a value is in it."""
        if self.kind == "choice":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = dict[str, Dimension]


def default_space(parameters: Mapping[str, Parameter], start: Mapping[str, Any]) -> Space:
    """Around `start`: step sizes (`lr`, `*_lr`) log-uniform by a factor of 30 either way; counts of steps (`*_steps`)
    from 1 to twice as many, 5 at least; every choice of a Literal, and both of a bool. The rest stays as it is."""
    space: Space = {}
    for name, parameter in parameters.items():
        value = start[name]
        if typing.get_origin(parameter.type) is Literal:
            space[name] = Dimension(kind="choice", choices=typing.get_args(parameter.type))
        elif parameter.type is bool:
            space[name] = Dimension(kind="choice", choices=(False, True))
        elif parameter.type is float and (name == "lr" or name.endswith("_lr")) and value > 0:
            high = min(value * FACTOR, parameter.ends[1])
            space[name] = Dimension(kind="float", low=max(value / FACTOR, parameter.ends[0]), high=high, log=True)
        elif parameter.type is int and name.endswith("_steps") and value > 0:
            ends = max(1, parameter.ends[0]), min(max(MIN_STEPS, 2 * value), parameter.ends[1])
            space[name] = Dimension(kind="int", low=ends[0], high=ends[1])
    return space


def spaces(texts: list[str]) -> dict[str, dict[str, str]]:
    """`NAME.inner_lr=0.01:1:log` as nested dicts."""
    by_algorithm: dict[str, dict[str, str]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, parameter = path.partition(".")
        if not (equals and dot and name and parameter and value):
            raise UserError(f"Cannot read --space '{text}'. It looks like {EXAMPLE}.")
        by_algorithm.setdefault(name, {})[parameter] = value
    return by_algorithm


def given_space(entry: Entry, texts: Mapping[str, str]) -> Space:
    """What the user says of an algorithm's parameters; raises UserError."""
    space: Space = {}
    for name, text in texts.items():
        if name not in entry.parameters:
            raise UserError(missing(f"Cannot use --space: {entry.owner} has no parameter", name, entry.parameters))
        parameter = entry.parameters[name]
        try:
            space[name] = dimension(text, parameter)
            for value in space[name].choices or (space[name].low, space[name].high):
                entry.resolve({name: int(value) if space[name].kind == "int" else value})
        except (ValueError, OverflowError, RecursionError) as error:
            raise UserError(
                f"Cannot read --space {entry.name}.{name}={text}: {one_line(error)}. See {EXAMPLE}."
            ) from None
    return space


def dimension(text: str, parameter: Parameter) -> Dimension:
    """`LOW:HIGH`, `LOW:HIGH:log`, or `A,B,C`; raises ValueError."""
    if ":" not in text:
        choices = tuple(dict.fromkeys(value_of(part.strip(), parameter) for part in text.split(",")))
        return Dimension(kind="choice", choices=choices)
    low, high, *rest = text.split(":")
    if rest not in ([], ["log"]):
        raise ValueError("a range is LOW:HIGH or LOW:HIGH:log")
    if parameter.type not in (float, int):
        raise ValueError(f"it is {type_name(parameter.type)}, which has no range")
    ends = (float(low), float(high)) if parameter.type is float else (int(low), int(high))
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ValueError("LOW must be below HIGH")
    if rest and ends[0] <= 0:
        raise ValueError("a log range must begin above 0")
    kind: Literal["float", "int"] = "float" if parameter.type is float else "int"
    return Dimension(kind=kind, low=ends[0], high=ends[1], log=bool(rest))


def value_of(text: str, parameter: Parameter) -> Any:
    """One choice: JSON, or else the text itself. A float may be written as an integer."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, list | dict):
        raise ValueError("a choice must be a number, a text, true, false or null")
    return float(value) if parameter.type is float and type(value) is int else value
