"""What the user asks for: options by hand, from a file, or both."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from metabench.errors import UserError, unknown
from metabench.trials import Budget, Precision, Protocol, Strategy
from metabench.units import bytes_of, seconds_of


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
    strategy: Strategy = "auto"
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
        if self.seeds == 0 or self.seeds == () or min(as_tuple(self.seeds)) < 0:
            raise ValueError(f"seeds must be a number of at least 1 or a list of them, not {self.seeds}")
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

    @property
    def checkpoints(self) -> dict[str, Any]:
        """The fields of Execution that say when checkpoints are made."""
        if self.checkpoint_every.isdigit():
            return {"checkpoint_seconds": None, "checkpoint_updates": int(self.checkpoint_every)}
        return {"checkpoint_seconds": seconds_of(self.checkpoint_every), "checkpoint_updates": None}


def named(name: str, read: Callable[[str], Any], text: str) -> None:
    """Raise ValueError, with the option's name, for a text that cannot be read."""
    try:
        read(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def as_tuple(seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """The seeds themselves: 0, 1 ... for a number of them."""
    return seeds if isinstance(seeds, tuple) else tuple(range(seeds)) or (seeds,)


def read_options(config: Path | None, given: Mapping[str, Any]) -> Options:
    """Options from a TOML file and, before it, those given by hand (None: not given). Raises UserError."""
    values: dict[str, Any] = {}
    if config:
        try:
            values = tomllib.loads(config.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"Cannot read the configuration '{config}': {error}.") from None
    sets = values.get("set", {})
    if isinstance(sets, dict) and all(isinstance(table, dict) for table in sets.values()):
        given_sets = given.get("set") or {}
        sets = {name: sets.get(name, {}) | given_sets.get(name, {}) for name in {**sets, **given_sets}}
    values |= {name: value for name, value in given.items() if value is not None} | {"set": sets}
    for name in values:
        if name not in Options.__struct_fields__:
            raise UserError(f"Configuration '{config}': {unknown('option', name, Options.__struct_fields__)}")
    try:
        return msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        field = re.search(r"`\$\.(\w+)", str(error))
        option = f"option '{field[1]}'" if field else "the options"
        raise UserError(f"Cannot use {option}: {str(error).split(' - ')[0]}.") from None
