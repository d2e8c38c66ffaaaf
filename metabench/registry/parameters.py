"""A factory's keyword-only parameters are its schema: types and defaults by its signature, help by its docstring."""

from __future__ import annotations

import inspect
import json
import reprlib
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from metabench.errors import UserError, missing
from metabench.registry.docstrings import arguments_of


class Parameter(NamedTuple):
    """One parameter of an algorithm or a suite."""

    name: str
    type: Any
    default: Any
    help: str = ""
    """What it is, from the factory's docstring; empty where its author does not say."""

    def __str__(self) -> str:
        return f"{self.name}: {type_name(self.type)} = {self.default!r}"


def signature_of(factory: Callable[..., Any], positional: int) -> dict[str, Parameter]:
    """The parameters of a factory that takes `positional` plain arguments before them.

    Raises ValueError, with the rule that is broken, for a signature that is no schema.
    """
    hints = typing.get_type_hints(factory)
    help_texts = arguments_of(factory)
    found: dict[str, Parameter] = {}
    plain = 0
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            plain += 1
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            raise ValueError(f"takes *{name}; every parameter needs a name of its own")
        elif parameter.default is parameter.empty:
            raise ValueError(f"parameter '{name}' has no default")
        else:
            kind = hints.get(name, type(parameter.default))
            try:
                default = as_json(msgspec.convert(parameter.default, kind))
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                raise ValueError(f"the default of parameter '{name}' does not fit its type: {error}") from None
            found[name] = Parameter(name, kind, default, help_texts.get(name, ""))
    if plain != positional:
        expected = "(problem, *, ...)" if positional else "(*, ...)"
        raise ValueError(f"takes {plain} positional parameters; a factory looks like {expected}")
    return found


def resolve(owner: str, schema: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter with its value: the given one, checked against its type, or the default.

    Raises UserError that names the owner, such as "algorithm 'mine'".
    """
    values = {name: parameter.default for name, parameter in schema.items()}
    for name, value in given.items():
        if name not in schema:
            raise UserError(missing(f"{owner[0].upper()}{owner[1:]} has no parameter", name, schema))
        try:
            values[name] = as_json(msgspec.convert(value, schema[name].type))
        except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError):
            rule = f"Parameter '{name}' of {owner} must be {type_name(schema[name].type)}, not {shown(value)}."
            raise UserError(f"{rule} {schema[name].help}".rstrip()) from None
    return values


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
