"""The whole extension surface: five hooks. A plugin is a module with a function for any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

from metabench.records.recipe import PackageRecipes

hookspec = pluggy.HookspecMarker("metabench")


@hookspec
def register_algorithms() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of algorithms -> factories `(problem, *, parameter=default ...) -> Algorithm | Learner`."""


@hookspec
def register_suites() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of suites -> factories `(*, parameter=default ...) -> Suite`."""


@hookspec
def register_recipes() -> PackageRecipes:  # type: ignore[empty-body]
    """(suite, recipe) -> algorithm -> its settings there: parameters, and fields of the budget.

    `"*"` is any suite or any recipe; what is more exact goes before. The suite need not be the package's own, and
    what its recipe says of the algorithm goes before this. Two packages may not say the same key of an algorithm.
    """


@hookspec
def register_trackers() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of trackers -> factories `(folder, *, parameter=default ...) -> metabench.api.Tracker`."""


@hookspec
def register_figures() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of figures -> functions `(scores: metabench.api.SuiteScores) -> metabench.api.Plot | None`.

    The report calls each for every suite, and folds it below its own figures; None is no figure. The name is its
    title, the first line of its docstring its caption.
    """
