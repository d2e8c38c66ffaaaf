"""Recipe files: tuned settings with where they come from, in TOML; `metabench run --recipe FILE.toml` takes them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from metabench.errors import UserError, attempt, missing
from metabench.experiments.read_options import read_text
from metabench.records.domains import domains
from metabench.records.files import checksum
from metabench.records.recipe import Settings
from metabench.records.trials import Trial, Tuning

FORMAT = 1
HEADING = "# Written by `metabench tune`; `metabench run --recipe` takes it. No test task was seen.\n"


class Tuned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One algorithm on one suite: the best candidate, and how it was found."""

    trials: int
    pruned: int
    failed: int
    updates: int
    """Of each trial that was not pruned."""
    updates_spent: int
    """Of all trials together."""
    validation_score: float
    untuned_score: float | None = None
    """That of the settings where tuning began: the suite's recipe, else the defaults."""
    higher_is_better: bool
    seeds: tuple[int, ...]
    """No trial of a comparison may have one of them."""
    sampler: str
    parameters: dict[str, Any]
    budget: dict[str, int]
    space: dict[str, str]
    """As `--space` writes it."""


class TunedSuite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was tuned on one suite."""

    base: str
    """The suite's recipe that says the rest, such as the settings of algorithms that were not tuned."""
    parameters: dict[str, Any]
    """The suite's."""
    algorithms: dict[str, Tuned]

    def __post_init__(self) -> None:
        if not self.algorithms:
            raise ValueError("a suite without algorithms was not tuned on")

    def settings(self, algorithm: str, untuned: Settings) -> Settings:
        """An algorithm's: those that were tuned, or `untuned` with the updates that the tuned ones have."""
        if tuned := self.algorithms.get(algorithm):
            return {**tuned.budget, **tuned.parameters}
        return {**untuned, "updates": next(iter(self.algorithms.values())).updates}  # all the same: tuning saw to it


class RecipeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a recipe file."""

    format: int = FORMAT
    hash: str = ""
    """Of the rest, which names no date: the same tuning gives the same hash."""
    suites: dict[str, TunedSuite]

    @property
    def digest(self) -> str:
        """What `hash` was when the file was written."""
        rest = [self.format, self.suites]
        return checksum(msgspec.json.encode(rest, order="sorted"))[:16]

    def of(self, suite: str) -> TunedSuite:
        """What was tuned on a suite; raises UserError for one that was not tuned on."""
        if suite not in self.suites:
            raise UserError(missing("The recipe file has no settings for suite", suite, self.suites))
        return self.suites[suite]

    def tuning(self, trial: Trial) -> Tuning | None:
        """How the trial's parameters were found; None for an algorithm that was not tuned. Raises UserError."""
        trained = domains(trial.suite)[0].name
        prefix = f"{trained}." if trained != trial.suite else ""
        suite = self.suites[trained]
        tuned = suite.algorithms.get(trial.algorithm)
        if tuned is None:
            return None
        if trial.seed in tuned.seeds:
            raise UserError(f"Seed {trial.seed} was used to tune '{trial.algorithm}'; choose others with --seeds.")
        fields = msgspec.json.decode(msgspec.json.encode(trial))  # in which a tuple is a list, as in the file
        pairs = (
            (fields["algorithm_parameters"], tuned.parameters),
            (fields["suite_parameters"], {f"{prefix}{key}": value for key, value in suite.parameters.items()}),
            (fields["budget"], tuned.budget),
        )
        changed = [name for now, then in pairs for name in then if now.get(name) != then[name]]
        if self.hash != self.digest:
            changed.append("the recipe file, by hand")
        return Tuning(
            trials=tuned.trials,
            updates=tuned.updates,
            score=tuned.validation_score,
            recipe=self.digest,
            changed=tuple(changed),
        )


def is_file(recipe: str | None) -> TypeGuard[str]:
    """Whether what `--recipe` was given is a file, not the name of a suite's recipe."""
    return recipe is not None and recipe.endswith(".toml")


def read_recipe(path: Path) -> RecipeFile:
    """A recipe file; raises UserError."""
    try:
        with attempt(f"read the recipe '{path}'"):
            values = tomllib.loads(read_text(path))
        if isinstance(values.get("format"), int) and values["format"] > FORMAT:
            raise ValueError(f"it was written by a newer metabench (format {values['format']})")
        return msgspec.convert(values, RecipeFile)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Cannot use the recipe '{path}': {error}. `metabench tune` writes one.") from None


def without_null(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What TOML can say of parameters: one that is None is left out, and has its default when the file is read."""
    return {name: value for name, value in parameters.items() if value is not None}


def encoded(file: RecipeFile) -> bytes:
    """A recipe file's content, with its hash."""
    values = msgspec.to_builtins(msgspec.structs.replace(file, hash=file.digest))
    return (HEADING + "\n".join(lines(values, ()))).encode() + b"\n"


def lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """A table as TOML: its values, then its tables. JSON's numbers, texts and lists are TOML's too; null is not."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping) and value is not None}
    if path and (plain or not table):
        yield f"\n[{'.'.join(map(key, path))}]"
    for name, value in plain.items():
        yield f"{key(name)} = {json.dumps(value, ensure_ascii=False)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from lines(value, (*path, name))


def key(name: str) -> str:
    """A name, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
