"""The edition of the contract, and what the author of a plugin for an earlier one is told: one line, and the page."""

from __future__ import annotations

import functools
from typing import Any, NoReturn, TypeVar

from metabench.errors import UserError

EDITION = 2
"""Changes when a plugin that worked would work no more."""
PAGE = "docs/authors/from-edition-1-to-2.md"
RENAMED = {"Inner": "InnerLoop", "UnfitError": "NotApplicableError"}
"""Names of edition 1 in `metabench.api`, and those that took their places."""

Fields = TypeVar("Fields", bound=tuple[Any, ...])


class EditionError(UserError):
    """A plugin is written for an earlier edition of the contract."""


def refuse(found: str) -> NoReturn:
    """Raise EditionError with what was found and the page to read."""
    raise EditionError(f"{found}: it is written for edition 1 of the contract, and this is {EDITION}; see {PAGE}")


def renamed(name: str) -> NoReturn:
    """The module's `__getattr__`: raise EditionError for a name of edition 1, otherwise AttributeError."""
    if name in RENAMED:
        refuse(f"metabench.api.{name} is now {RENAMED[name]}, and the plugin asks for the old name")
    raise AttributeError(f"module 'metabench.api' has no attribute '{name}'")


def refuse_edition_1(algorithm: type[Fields]) -> type[Fields]:
    """Let `Algorithm(init, start, step, predict)`, by position or by name, raise EditionError."""
    new = algorithm.__new__

    @functools.wraps(new)
    def checked(cls: type[Fields], *given: Any, **named: Any) -> Fields:
        if {"start", "step", "predict"} & named.keys() or callable(given[1] if len(given) > 1 else None):
            refuse("The plugin does not give Algorithm one InnerLoop(start, step, predict)")
        return new(cls, *given, **named)

    algorithm.__new__ = staticmethod(checked)  # type: ignore[method-assign, assignment]
    return algorithm
