"""A setting that is not the same for our number and a published one."""

from __future__ import annotations

from typing import Any, NamedTuple

from metabench.registry.published import Number
from metabench.report.collect.labels import text


class Unlike(NamedTuple):
    """One setting, here and there, in words."""

    setting: str
    here: str
    there: str
    said: bool = True
    """Whether the source says so; else it is what stands in for what is not said."""

    def __str__(self) -> str:
        """`queries: 15 here, 1 there`."""
        where = "there" if self.said else "in place of what is not said there"
        return f"{self.setting}: {self.here} here, {self.there} {where}"


def alike(ours: Any, theirs: Any) -> bool:
    """Equal as settings: 1 and 1.0 are, 1 and true are not."""
    return isinstance(ours, bool) == isinstance(theirs, bool) and ours == theirs


def difference(name: str, here: dict[str, Any], number: Number) -> Unlike:
    """Of one setting."""
    ours = words(here[name]) if name in here else "no setting"
    if name not in number.protocol:
        return Unlike(name, ours, words(number.ours[name]), said=False)
    there = words(number.protocol[name])
    same = alike(here.get(name), number.protocol[name])
    return Unlike(name, ours, f"{there} (which is {words(number.ours[name])} in our units)" if same else there)


def words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else text(value)
