"""What a row of the table of options says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Option(NamedTuple):
    """What a row says beside the option's name, type and default."""

    help: str
    commands: str = "run reproduce tune"
    """The commands that take it."""
    tune: str = ""
    """What `metabench tune` says in place of `help`."""
    worker: str = ""
    """What `metabench worker` says in place of `help`."""
    flag: str = ""
    """Its name on the command line, where that is not the field's; such an option may be repeated."""
    short: str = ""
    """Its flag of one letter."""
    group: str = ""
    """The heading in --help that begins with this row, and goes on until another."""
    read: Callable[[Any], Any] | None = None
    """Turns what was typed, or given from Python, into a value."""
    check: Callable[[Any], Any] | None = None
    """Raises ValueError for a value that cannot be used."""


class Row(NamedTuple):
    """One option: a field of `Options`, and what its row says."""

    name: str
    type: Any
    default: Any
    option: Option
    group: str
    """Its heading in --help."""

    def help_for(self, command: str) -> str:
        """The help of the option in one command, with its default."""
        text = {"tune": self.option.tune, "worker": self.option.worker}.get(command) or self.option.help
        known = "default" in text.lower() or self.default in (None, (), {}, False)
        return text if known else f"{text} Default: {self.default}."
