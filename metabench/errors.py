"""Errors that are the user's to fix: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

SHOWN = 30
"""Names that a message lists at most."""


LONGEST = 2000
"""Characters of a message; what was typed in may be a whole file."""


class UserError(Exception):
    """What was wrong, what was expected, and what to do. One line, whatever names and values it quotes."""

    def __str__(self) -> str:
        text = " ".join(super().__str__().split())
        return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


class NotApplicableError(ValueError):
    """Why an algorithm is not made for a problem, or a check says nothing about a plugin: in a clause."""


@contextmanager
def attempt(what: str, advice: str = "") -> Iterator[None]:
    """Turn an OSError into the UserError `Cannot WHAT: No space left on device. ADVICE`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot {what}: {error.strerror or error}. {advice}") from None


def one_line(error: BaseException) -> str:
    """An exception's kind and message, folded to one line."""
    try:
        return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    except Exception:  # a stranger's exception, which fails even at that
        return type(error).__name__


def unknown(kind: str, name: str, available: Iterable[str]) -> str:
    """ "Unknown suite 'sinusoids'. Did you mean 'sinusoid'? Available: ..." """
    return missing(f"Unknown {kind}", name, available)


def missing(statement: str, name: str, available: Iterable[str]) -> str:
    """ "Suite 'printed' has no recipe 'papr'. Did you mean 'paper'? Available: paper, quick." """
    known = sorted(available)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"{statement} '{name}'.{hint} Available: {', '.join(known[:SHOWN]) or 'none'}{more}."
