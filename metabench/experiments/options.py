"""What the user asks for: options by hand, from a file, or both."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from metabench.errors import UserError, unknown
from metabench.records.trials import Budget, Precision, Protocol, StrategyName
from metabench.units import bytes_of, seconds_of

MAX_SEEDS = 10_000
MAX_SEED = 2**63 - 1
MAX_FILE_BYTES = 10**6
"""Bytes of a configuration file."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the user asks for. None means: as the recipe or the default says."""

    algos: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    seeds: int | tuple[int, ...] = 3
    """How many (0, 1, 2 ...), or which."""
    set: dict[str, dict[str, Any]] = {}
    """By algorithm or suite: its parameters."""
    recipe: str | None = None
    updates: int | None = None
    meta_batch_size: int | None = None
    validations: int | None = None
    validation_tasks: int | None = None
    test_tasks: int | None = None
    test_steps: int | None = None
    protocol: Protocol = "transductive"
    precision: Precision = "float32"
    out: str | None = None
    jobs: int | None = None
    device: str = "auto"
    strategy: StrategyName = "auto"
    rematerialise: bool = False
    plugins: tuple[str, ...] = ()
    data: str | None = None
    deterministic: bool = False
    trial_timeout: str | None = None
    """Such as 90s, 15m, 2h."""
    memory_limit: str | None = None
    """Such as 500MB, 2GB."""
    checkpoint_every: str = "60s"
    """A duration, or a number of meta-updates."""
    retry_failed: bool = False
    fail_fast: bool = False
    executor: Literal["local", "dask"] = "local"
    scheduler: str | None = None
    """Of Dask, such as tcp://HOST:8786."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {self.jobs}")
        check_seeds(self.seeds)
        for name, read in (("trial_timeout", seconds_of), ("memory_limit", bytes_of)):
            text = getattr(self, name)
            if text is not None:
                named(name, read, text)
        if not re.fullmatch(r"[1-9]\d{0,8}", self.checkpoint_every):
            named("checkpoint_every", seconds_of, self.checkpoint_every)
        if self.scheduler is not None and self.executor != "dask":
            raise ValueError("scheduler goes with executor dask")
        if self.rematerialise and self.strategy not in ("auto", "threaded"):
            raise ValueError(f"rematerialise goes with strategy threaded, not {self.strategy}")

    @property
    def budget(self) -> dict[str, int]:
        """The fields of the budget that the user set."""
        names = Budget.__struct_fields__
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def named(name: str, read: Callable[[str], Any], text: str) -> None:
    """Raise ValueError, with the option's name, for a text that cannot be read."""
    try:
        read(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def check_seeds(seeds: int | tuple[int, ...]) -> None:
    """Raise ValueError for none, for too many, and for those that are out of range."""
    if (isinstance(seeds, int) and seeds > MAX_SEEDS) or (isinstance(seeds, tuple) and len(seeds) > MAX_SEEDS):
        raise ValueError(f"seeds must be {MAX_SEEDS:,} at most; to name one, write a list of it")
    if (isinstance(seeds, int) and seeds < 1) or seeds == ():
        raise ValueError(f"seeds must be a number of at least 1 or a list of them, not {seeds}")
    for seed in seeds if isinstance(seeds, tuple) else ():
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seeds must be from 0 to {MAX_SEED}, not {seed}")


def as_tuple(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """The seeds themselves, each once: 0, 1 ... for a number of them."""
    return tuple(dict.fromkeys(seeds if isinstance(seeds, tuple) else range(seeds)))


def read_options(config: Path | None, given: Mapping[str, Any]) -> Options:
    """Options from a TOML file and, before it, those given by hand (None: not given). Raises UserError."""
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(read_text(config))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"Cannot read the configuration '{config}': {error}.") from None
    sets = values.get("set", {})
    if isinstance(sets, dict) and all(isinstance(table, dict) for table in sets.values()):
        given_sets = given.get("set") or {}
        sets = {name: sets.get(name, {}) | given_sets.get(name, {}) for name in {**sets, **given_sets}}
    values |= {name: value for name, value in given.items() if value is not None} | {"set": sets}
    for name in values:
        if name not in Options.__struct_fields__:
            where = f"Configuration '{config}': " if config else ""
            raise UserError(where + unknown("option", name, Options.__struct_fields__))
    try:
        options = msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        field = re.search(r"`\$\.(\w+)", str(error))
        option = f"option '{field[1]}'" if field else "the options"
        raise UserError(f"Cannot use {option}: {str(error).rsplit(' - at ', 1)[0]}.") from None
    check_texts(options)
    return options


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


def unprintable(character: str) -> bool:
    """Control characters, line breaks, and the halves of a broken encoding."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
