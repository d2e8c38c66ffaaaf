"""Options -> the command that has them: what a results folder keeps of how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from metabench.experiments.option_rows import Row
from metabench.experiments.options import Options, rows
from metabench.records.domains import read_value


def command_of(options: Options) -> str:
    """`metabench run --algos ...`, with all that is not the default."""
    words = ["metabench", "run"]
    for row in rows():
        value = getattr(options, row.name)
        if value != row.default and "run" in row.option.commands.split():
            words += words_of(row, value)
    return shlex.join(words)


def words_of(row: Row, value: Any) -> list[str]:
    """One option as it is typed."""
    name = row.name.replace("_", "-")
    flag = row.option.flag or f"--{name}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{name}"]
    if isinstance(value, Mapping):
        pairs = ((owner, key, one) for owner, table in value.items() for key, one in table.items())
        return [word for owner, key, one in pairs for word in (flag, f"{owner}.{key}={typed(one)}")]
    if isinstance(value, tuple) and row.option.flag:
        return [word for one in value for word in (flag, str(one))]
    if isinstance(value, tuple):  # 7 alone would be seven seeds
        return [flag, ",".join(map(str, value)) + "," * (row.name == "seeds" and len(value) == 1)]
    return [flag, str(value)]


def typed(value: Any) -> str:
    """A setting: a text as it is where it is read as a text, anything else as JSON."""
    plain = isinstance(value, str) and read_value(value) == value
    return value if plain else msgspec.json.encode(value).decode()
