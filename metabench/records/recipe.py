"""The settings of algorithms on a suite, with where they come from: plain data, and no torch."""

from __future__ import annotations

from typing import Any

import msgspec

Settings = dict[str, Any]
"""Parameters of an algorithm, and fields of the budget that differ for it, by name."""
PackageRecipes = dict[tuple[str, str], dict[str, Settings]]
"""(suite, recipe) -> algorithm -> its settings there: what the hook `register_recipes` returns."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of algorithms on one suite. Raises ValueError for what has another form.

    What an algorithm runs with is looked up setting by setting: the user's value, else the recipe's for this
    algorithm, else that of the algorithm's own package (`register_recipes`), else `shared`, else the default of its
    factory.
    """

    source: str
    """Where the numbers stand: paper and table."""
    suite: Settings = {}
    """Parameters of the suite."""
    budget: Settings = {}
    """Updates, meta_batch_size, test_steps ... for every algorithm."""
    algorithms: dict[str, Settings] = {}
    """By algorithm: its parameters, and fields of the budget that differ for it."""
    compare: tuple[str, ...] = ()
    """The algorithms that a run compares when the user names none; a suite with some is in the default run."""
    shared: Settings = {}
    """Parameters for the whole family: every algorithm that has a parameter of this name gets this value."""
    like: str = ""
    """A suite for which packages' settings of their algorithms hold here too, such as Omniglot for other letters."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            try:
                value = msgspec.convert(getattr(self, field.name), field.type)
            except msgspec.ValidationError as error:
                raise ValueError(f"the recipe's {field.name} cannot be used: {error}") from None
            msgspec.structs.force_setattr(
                self, field.name, value
            )  # a copy: what is frozen is nobody else's to change
