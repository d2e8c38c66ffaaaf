"""How a trial may end, and what each ending means: all else goes by this table."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["ok", "unfit", "pruned", "diverged", "error", "timeout", "lost"]


class Meaning(NamedTuple):
    """What a status means to those who do not know it by name."""

    failure: bool
    """Whether something went wrong."""
    final: bool
    """Whether running the trial again would only repeat it; after the others it may be tried again."""


STATUSES: dict[Status, Meaning] = {
    "ok": Meaning(failure=False, final=True),
    "unfit": Meaning(failure=False, final=True),  # the algorithm is not made for the suite, says its factory
    "pruned": Meaning(failure=False, final=True),  # a candidate of a search that was given up
    "diverged": Meaning(failure=True, final=True),  # a loss or a score is not a finite number
    "error": Meaning(failure=True, final=False),  # an exception
    "timeout": Meaning(failure=True, final=False),  # longer than --trial-timeout
    "lost": Meaning(failure=True, final=False),  # its process died
}
"""To add a status, add it here and to Status."""
