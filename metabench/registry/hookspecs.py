"""The whole extension surface: two hooks. A plugin is a module with one function for either of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("metabench")


@hookspec
def register_algorithms() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of algorithms -> factories `(problem, *, parameter=default ...) -> Algorithm | Learner`."""


@hookspec
def register_suites() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Names of suites -> factories `(*, parameter=default ...) -> Suite`."""
