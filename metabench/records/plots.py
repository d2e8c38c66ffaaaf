"""A figure as data: what a plugin's figure is given, and what it returns for the report to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class SuiteScores:
    """What was scored on one suite."""

    suite: str
    metric: str
    higher_is_better: bool
    algorithms: tuple[str, ...]
    """By their labels in the report, best first."""
    tasks: DataFrame
    """A row for each `algorithm`, `protocol`, `seed`, inner `step` and test `task`: its `score`."""
    curves: DataFrame
    """A row for each `algorithm`, `seed` and validation: `update`, `train_seconds`, `score`."""


@dataclass(frozen=True)
class Axis:
    """A name, and how numbers stand on it."""

    label: str
    share: bool = False
    """Whether they are shares of one, to be written in percent."""
    log: bool = False


@dataclass(frozen=True)
class Series:
    """What is drawn of one algorithm, in its color and with its marker."""

    algorithm: str
    """One of SuiteScores.algorithms."""
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    """Ends of the intervals of y, or nothing."""
    high: Sequence[float] = ()
    label: str = ""
    """Its name, if that is not the algorithm's."""


@dataclass(frozen=True)
class Plot:
    """Lines, or points with their intervals; drawn for the page, where it can be zoomed and asked, and for files."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    kind: Literal["lines", "points"] = "lines"
    words: str = ""
    """What it shows, number by number, for those who cannot see it; parts apart by `; `. Empty: first and last y."""
