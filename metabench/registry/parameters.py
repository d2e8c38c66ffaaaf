"""A factory's keyword-only parameters are its schema: types and defaults by its signature, help by its docstring."""

from __future__ import annotations

import functools
import inspect
import json
import math
import operator
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from metabench.errors import UserError, missing
from metabench.registry.docstrings import arguments_of

OWN_MODEL = re.compile(r"([^,]+\.py):([^\W\d]\w*)")
"""A user's network as a value: the file, and the name of a class in it."""


class Parameter(NamedTuple):
    """One parameter of an algorithm or a suite."""

    name: str
    type: Any
    """Without its range."""
    default: Any
    help: str = ""
    """What it is, from the factory's docstring; empty where its author does not say."""
    declared: Any = None
    """The type as it is annotated, with its range: `Annotated[float, Range(ge=0)]`."""
    open: bool = False
    """Whether it may be FILE.py:NAME too: see registry.own_models."""
    later: bool = False
    """Whether it is left out where it has its default: it came later, and renames no trial that was run before."""

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} = {self.default!r}"

    @property
    def kind(self) -> str:
        """Its type and its range in words: `int`, `float of at least 0`, `int from 1 to 4096`."""
        words = [range_name(one) for one in ranges_of(self.declared) if range_name(one)]
        return " ".join([type_name(self.type), *words[:1]]) + (" | FILE.py:NAME" if self.open else "")

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest number that it may be; infinite where nothing is said."""
        limits = next(iter(ranges_of(self.declared)), msgspec.Meta())
        low = limits.ge if limits.ge is not None else limits.gt
        high = limits.le if limits.le is not None else limits.lt
        return -math.inf if low is None else low, math.inf if high is None else high

    def read(self, value: Any) -> Any:
        """A given value as it is kept; raises what msgspec raises for one that does not fit, or ValueError."""
        if self.open and isinstance(value, str) and OWN_MODEL.fullmatch(value):
            return as_json(value)
        return as_json(msgspec.convert(value, self.declared))

    @property
    def lacks_range(self) -> bool:
        """Whether it may be a number, and nothing is said of which."""
        return bool({int, float} & {self.type, *typing.get_args(self.type)}) and (
            typing.get_origin(self.type) is not typing.Literal and not ranges_of(self.declared)
        )


def signature_of(factory: Callable[..., Any], positional: int) -> dict[str, Parameter]:
    """The parameters of a factory that takes `positional` plain arguments before them.

    Raises ValueError, with the rule that is broken, for a signature that is no schema.
    """
    hints = typing.get_type_hints(factory, include_extras=True)
    help_texts = arguments_of(factory)
    schema: dict[str, Parameter] = {}
    plain = 0
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            plain += 1
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            raise ValueError(f"takes *{name}; every parameter needs a name of its own")
        elif parameter.default is parameter.empty:
            raise ValueError(f"parameter '{name}' has no default")
        else:
            declared = hints.get(name, type(parameter.default))
            try:
                default = as_json(msgspec.convert(parameter.default, declared))
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                raise ValueError(f"the default of parameter '{name}' does not fit its type: {error}") from None
            schema[name] = Parameter(name, bare(declared), default, help_texts.get(name, ""), declared)
    if plain != positional:
        expected = "(problem, *, ...)" if positional else "(*, ...)"
        raise ValueError(f"takes {plain} positional parameters; a factory looks like {expected}")
    return schema


def resolve(owner: str, schema: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter with its value: the given one, checked against its type, or the default.

    Raises UserError that names the owner, such as "algorithm 'mine'".
    """
    values = {name: parameter.default for name, parameter in schema.items() if not parameter.later}
    for name, value in given.items():
        if name not in schema:
            raise UserError(missing(f"{owner[0].upper()}{owner[1:]} has no parameter", name, schema))
        try:
            values[name] = schema[name].read(value)
        except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError):
            rule = f"Parameter '{name}' of {owner} must be {schema[name].kind}, not {shown(value)}."
            raise UserError(f"{rule} {schema[name].help}".rstrip()) from None
    return {name: value for name, value in values.items() if not schema[name].later or value != schema[name].default}


def as_json(value: Any) -> Any:
    """The value itself; raises ValueError or TypeError unless it survives the way through JSON."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it is out of range")
    json.dumps(value, allow_nan=False)
    msgspec.json.encode(value)  # as records are written: refuses what is no Unicode
    return value


def shown(value: Any) -> str:
    """A value in an error message, which is one line of a bearable length."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 100
    try:
        return " ".join(brief.repr(value).split())
    except ValueError:  # an integer of more digits than Python writes
        return f"such a long {type(value).__name__}"


def type_name(kind: Any) -> str:
    """`int`, `float | None`, or the choices of a Literal."""
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(repr(choice) for choice in typing.get_args(kind))
    return kind.__name__ if isinstance(kind, type) else str(kind)


def bare(declared: Any) -> Any:
    """A type without the ranges in it."""
    if typing.get_origin(declared) is Annotated:
        return bare(typing.get_args(declared)[0])
    if typing.get_origin(declared) in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, map(bare, typing.get_args(declared)))
    return declared


def ranges_of(declared: Any) -> list[msgspec.Meta]:
    """The ranges in a type, from the outside in."""
    own = getattr(declared, "__metadata__", ())
    inside = [found for part in typing.get_args(declared) for found in ranges_of(part)]
    return [each for each in own if isinstance(each, msgspec.Meta)] + inside


def range_name(one: msgspec.Meta) -> str:
    """`of at least 0`, `above 0`, `from 0 to 1`, `above 0 and at most 10`; empty for a range without ends."""
    if one.ge is not None and one.le is not None:
        return f"from {one.ge} to {one.le}"
    ends = {"of at least": one.ge, "above": one.gt, "of at most": one.le, "below": one.lt}
    return " and ".join(f"{words} {end}" for words, end in ends.items() if end is not None)
