"""How the values of options are read from texts, and what they must be."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from metabench.errors import UserError
from metabench.records.domains import read_value
from metabench.units import seconds_of

MAX_SEEDS = 10_000
MAX_SEED = 2**63 - 1
KEY = r"(.+?)\.([^\d\s.=][^=]*)"
"""`NAME.parameter`; a name may hold a number with a point: `glyphs:glyphs+blur=1.5.validate`."""


def read_names(value: Any) -> Any:
    """`a,b` as a list; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def read_files(value: Any) -> Any:
    """One path as a list of it; paths as texts."""
    paths = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(paths, list | tuple):
        return value
    return [os.fspath(path) if isinstance(path, os.PathLike) else path for path in paths]


def read_seeds(value: Any) -> Any:
    """`3` as a number and `0,4,7` as a list; anything but a text as it is."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, range) else value
    try:
        return [int(part) for part in value.split(",") if part] if "," in value else int(value)
    except ValueError:
        raise UserError(f"--seeds takes a number (3) or a list (0,4,7), not '{value}'.") from None


def read_settings(value: Any) -> Any:
    """Nested dicts from texts `name.parameter=value`, whose value is JSON or else a text, or from dotted keys."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [read_setting(text) for text in value]
    elif isinstance(value, str) and "=" in value:
        pairs = [read_setting(value)]
    else:
        return value
    tables: dict[Any, Any] = {}
    for key, setting in pairs:
        name, parameter = parted(str(key))
        if parameter and isinstance(tables.setdefault(name, {}), dict):
            tables[name][parameter] = setting
        elif isinstance(setting, Mapping):
            tables[key] = {**tables.get(key, {}), **setting}
        else:
            tables[key] = setting
    return tables


def parted(key: str) -> tuple[str, str]:
    """The name and the parameter in `NAME.inner_lr`; two empty texts where it is no such key."""
    found = re.fullmatch(KEY, key, re.DOTALL)
    return (found[1], found[2]) if found else ("", "")


def read_setting(text: str) -> tuple[str, Any]:
    """`name.parameter=value` as key and value. Raises UserError."""
    found = re.fullmatch(rf"({KEY})=(.*)", text, re.DOTALL)
    if not found:
        raise UserError(f"Cannot read --set '{text}'. It looks like --set NAME.inner_lr=0.1.")
    return found[1], read_value(found[4])


def check_seeds(seeds: int | tuple[int, ...]) -> None:
    """Raise ValueError for none, for too many, and for those that are out of range."""
    if (isinstance(seeds, int) and seeds > MAX_SEEDS) or (isinstance(seeds, tuple) and len(seeds) > MAX_SEEDS):
        raise ValueError(f"must be {MAX_SEEDS:,} at most; to name one, write a list of it")
    if (isinstance(seeds, int) and seeds < 1) or seeds == ():
        raise ValueError(f"must be a number of at least 1 or a list of them, not {seeds}")
    for seed in seeds if isinstance(seeds, tuple) else ():
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"must be from 0 to {MAX_SEED}, not {seed}")


def check_positive(number: int) -> None:
    """Raise ValueError for a number below 1."""
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")


def check_checkpoint_every(text: str) -> None:
    """Raise ValueError for what is neither a number of meta-updates nor a duration."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        seconds_of(text)


def unprintable(character: str) -> bool:
    """Control characters, line breaks, and the halves of a broken encoding."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
