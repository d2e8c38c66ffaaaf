"""What a suite is called that is trained on one suite and tested on another: `omniglot:emnist`.

Before the colon stands what is trained on, after it what is tested on; without a colon they are one. Each is the name
of a suite, with what is changed for this domain alone: `+rotate=30` (see SHIFTS) or `+x_high=10`, a parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

NAME = re.compile(r"(?!(?:con|prn|aux|nul|com\d|lpt\d)$)[a-z0-9][a-z0-9+_-]{0,39}")
"""What algorithms and suites may be called: their names name files, on Windows too, which reserves a few."""
CHANGE = re.compile(r"\+([A-Za-z_]\w*)=([\w.@-]{1,40})", re.ASCII)
LONGEST = 160
"""Characters of a suite's name with all that is changed: it names a folder."""

SHIFTS = {
    "rotate": "degrees, counter-clockwise",
    "blur": "the Gaussian's deviation in pixels",
    "invert": "the share of the way to the negative, from 0 to 1",
    "noise": "the deviation of normal noise, of a range of 1",
    "contrast": "the factor on the distance from the image's mean",
    "coarsen": "the factor by which the resolution is lower",
}
"""What can be done to the images of a suite, with what the severity is."""


On = Literal["support", "query", "both"]


class Shift(NamedTuple):
    """`rotate=30@query`: what is done to a suite's images, how much, and to which set of a task."""

    kind: str
    severity: float
    on: On = "both"

    def __str__(self) -> str:
        return f"{self.kind}={self.severity:g}" + ("" if self.on == "both" else f"@{self.on}")


class Domain(NamedTuple):
    """A suite as it is named on one side of a colon."""

    name: str
    """As it is written: `omniglot+rotate=30`."""
    suite: str
    """The suite that is registered: `omniglot`. Random streams bear this name, so that both meet the same tasks."""
    changes: tuple[tuple[str, str], ...]
    """What follows the pluses, as names and texts."""

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the suite that are changed, as texts."""
        return {name: value for name, value in self.changes if name not in SHIFTS}

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """What is done to its images, in order. Raises ValueError."""
        return tuple(read_shift(name, value) for name, value in self.changes if name in SHIFTS)


def read_shift(kind: str, text: str) -> Shift:
    """`30@query`; raises ValueError for a severity that is no number, and for a set that there is not."""
    number, _, named = text.partition("@")
    on = next((each for each in get_args(On) if each == (named or "both")), None)
    try:
        severity = float(number)
    except ValueError:
        raise ValueError(f"'{kind}={text}' needs a number: {SHIFTS[kind]}") from None
    if on is None:
        raise ValueError(f"'{kind}={text}' must end in @support or @query, or in neither for both")
    return Shift(kind, severity, on)


@lru_cache(maxsize=1000)
def domains(name: str) -> tuple[Domain, ...]:
    """The domain that is trained on and, after a colon, that which is tested on. Raises ValueError."""
    found = tuple(map(domain, name.split(":")))
    if len(found) > 2:
        raise ValueError(f"{name!r} has {len(found)} suites: one to train on and one to test on, as in A:B")
    if len(found) == 2 and found[0].name == found[1].name:
        raise ValueError(f"{name!r} is trained and tested on the same: that is '{found[0].name}'")
    if len(name) > LONGEST:
        raise ValueError(f"{name[:40]!r}... has more than {LONGEST} characters")
    return found


def domain(name: str) -> Domain:
    """One side of a colon. Raises ValueError for what is no name."""
    first = CHANGE.search(name)
    suite, rest = (name[: first.start()], name[first.start() :]) if first else (name, "")
    changes = tuple((match[1], match[2]) for match in CHANGE.finditer(rest))
    if not NAME.fullmatch(suite) or "".join(f"+{key}={value}" for key, value in changes) != rest:
        raise ValueError(f"{name!r} is no name of a suite, as `omniglot` and `omniglot+rotate=30` are")
    return Domain(name, suite, changes)


def read_value(text: str) -> Any:
    """What a text is as JSON, or else the text itself: a parameter as it is typed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON; or numbers too long, lists too deep to be meant
        return text


def own_parameters(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Of the parameters of two suites those of one, by the names that it knows them by."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in parameters.items() if key.startswith(prefix)}


def is_made(name: str) -> bool:
    """Whether it is meant as a name of two suites, or of one that is changed."""
    return ":" in name or CHANGE.search(name) is not None


def parts(name: str) -> tuple[str, ...]:
    """The registered suites that it is made of; none for one that is registered itself, and for what is no name."""
    try:
        found = tuple(domain.suite for domain in domains(name))
    except ValueError:
        return ()
    return () if found == (name,) else found


def usual(name: str) -> str:
    """The name in lower case, as names of suites are; what is changed stays as it is written."""
    return ":".join(
        re.sub(r"^.*?(?=\+[A-Za-z_]\w*=|$)", lambda found: found[0].lower(), one) for one in name.split(":")
    )


def file_name(name: str) -> str:
    """As a part of the name of a folder, where a colon may not stand."""
    return name.replace(":", "--")
