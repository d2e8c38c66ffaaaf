"""The settings that packages bring for their algorithms on suites, which may be other packages'."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import msgspec

from metabench.records.recipe import PackageRecipes

ANY = "*"
"""Every suite, or every recipe."""
FORM = "{(suite, recipe): {algorithm: {setting: value}}}, where '*' is any suite or recipe"


class PackageSettings(NamedTuple):
    """What one plugin says of one algorithm."""

    values: dict[str, Any]
    plugin: str


Key = tuple[str, str, str]
"""Suite, recipe, algorithm."""


def read_settings(returned: Any, taken: Mapping[Key, PackageSettings], plugin: str) -> dict[Key, PackageSettings]:
    """What `register_recipes` of a plugin returned, checked; raises ValueError with the rule that it breaks."""
    try:
        tables = msgspec.convert(returned, PackageRecipes)
    except msgspec.ValidationError as error:
        raise ValueError(f"register_recipes must return {FORM}; {error}") from None
    settings: dict[Key, PackageSettings] = {}
    for (suite, recipe), algorithms in tables.items():
        for algorithm, values in algorithms.items():
            key = (suite, recipe, algorithm)
            if key in taken:
                raise ValueError(
                    f"the settings of '{algorithm}' for suite '{suite}', recipe '{recipe}', are registered already "
                    f"by plugin '{taken[key].plugin}'"
                )
            settings[key] = PackageSettings(values, plugin)
    return settings


def package_settings(
    table: Mapping[Key, PackageSettings], suites: tuple[str, ...], recipe: str, algorithm: str
) -> dict[str, Any]:
    """What packages say of an algorithm under a recipe. The last of `suites` goes before the others, and any suite
    after them; for the same suite, the recipe goes before any recipe."""
    settings: dict[str, Any] = {}
    for key in product((ANY, *suites), (ANY, recipe), (algorithm,)):
        if key in table:
            settings |= table[key].values
    return settings
