"""How a plugin marks its hooks, and its factories that need what is not installed with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pluggy

hookimpl = pluggy.HookimplMarker("metabench")

Factory = TypeVar("Factory", bound=Callable[..., Any])


def requires(module: str, install: str) -> Callable[[Factory], Factory]:
    """Mark a factory that needs a module which its package does not install; `install` is the command that does.

    `module` may name several, with spaces between.

    Where it is missing, `metabench list` says so, and a run that asks for it ends before its first trial. A factory
    that is marked imports the module when it is called, not before.
    """

    def marked(factory: Factory) -> Factory:
        factory.metabench_requires = (module, install)  # type: ignore[attr-defined]
        return factory

    return marked
