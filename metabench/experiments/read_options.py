"""Options from a TOML file, the command line and Python. Raises UserError for what cannot be used."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from metabench.errors import UserError, missing, unknown
from metabench.experiments.option_values import unprintable
from metabench.experiments.options import Options, rows
from metabench.records.domains import parts

MAX_FILE_BYTES = 10**6
"""Bytes of a configuration file."""

Function = TypeVar("Function", bound=Callable[..., Any])


def read_options(config: Path | None, given: Mapping[str, Any]) -> Options:
    """Options from a TOML file, overridden by those from the command line or Python (None: not given).

    The latter may be texts, as they are typed. Raises UserError.
    """
    given = {name: as_typed(name, value) for name, value in given.items() if value is not None}
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(read_text(config))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"Cannot read the configuration '{config}': {error}.") from None
    sets, file_chose = (values.get("set", {}), given.get("set", {})), chosen(values)
    values |= given
    if all(map(is_nested, sets)):
        for name in file_chose - chosen(values):  # a part of the file's run: what is set for the rest is not for it
            sets[0].pop(name, None)
        values["set"] = {name: {**sets[0].get(name, {}), **sets[1].get(name, {})} for name in {**sets[0], **sets[1]}}
    for name in values:
        if name not in Options.__struct_fields__:
            where = f"Configuration '{config}': " if config else ""
            raise UserError(where + unknown("option", name, Options.__struct_fields__))
    try:
        options = msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        field = re.search(r"`\$\.(\w+)", str(error))
        option = f"option '{field[1]}'" if field else "the options"
        raise UserError(f"Cannot use {option}: {reason_of(error, field[1] if field else '', values)}.") from None
    check_texts(options)
    return options


def chosen(values: Mapping[str, Any]) -> set[str]:
    """The names of algorithms and suites, and of what suites are made of; of what is no list of names, none."""
    lists = [values[key] for key in ("algos", "suites") if isinstance(values.get(key), list | tuple)]
    names = {name for each in lists for name in each if isinstance(name, str)}
    return names | {part for name in names for part in parts(name)}


def reason_of(error: Exception, name: str, values: Mapping[str, Any]) -> str:
    """Why a value cannot be used: for a choice, which there are and which was perhaps meant."""
    row = next((row for row in rows() if row.name == name), None)
    choices = [str(choice) for choice in get_args(row.type)] if row and get_origin(row.type) is Literal else []
    if choices:
        return missing("there is no", str(values.get(name)), choices).rstrip(".")
    return str(error).rsplit(" - at ", 1)[0]


def is_nested(sets: Any) -> bool:
    """Whether it is a dict of dicts."""
    return isinstance(sets, Mapping) and all(isinstance(table, Mapping) for table in sets.values())


def as_typed(name: str, value: Any) -> Any:
    """A value given from the command line or Python: texts are read as the option's row says, paths become texts."""
    read = next((row.option.read for row in rows() if row.name == name), None)
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return read(value) if read else value


def read_text(path: Path) -> str:
    """A small file of UTF-8; raises OSError or ValueError. It need not be a regular one: `--config <(...)`."""
    with open(path, "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES:,} bytes")
    return content.decode()


def check_texts(options: Options) -> None:
    """Raise UserError for a text that is empty, or that no file, device or address can be called."""
    for name in Options.__struct_fields__:
        value = getattr(options, name)
        for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if isinstance(text, str) and (not text.strip() or any(map(unprintable, text))):
                raise UserError(f"Cannot use option '{name}': {text!r} is empty or holds control characters.")


def with_keywords(function: Function) -> Function:
    """Give a function that takes `**options` the signature and the `Args:` of the table of options."""
    described: Any = function
    shown = inspect.signature(function)
    own = [each for each in shown.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=row.default, annotation=row.type)
        for row in rows()
    ]
    described.__signature__ = shown.replace(parameters=[*own, *options])
    lines = [f"    {row.name}: {row.help_for('run')}" for row in rows()]
    described.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
    return function
