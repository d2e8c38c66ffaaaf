"""The strategies that there are. A strategy is a file here that has the name of the strategy and defines STRATEGY."""

from __future__ import annotations

from importlib import import_module

from metabench.engine.strategies.base import Strategy
from metabench.errors import UserError, missing
from metabench.records.trials import STRATEGIES as NAMES

STRATEGIES: dict[str, type[Strategy]] = {name: import_module(f"{__name__}.{name}").STRATEGY for name in NAMES}
"""By name: from it come what may be asked for and what `auto` chooses from."""


def make_strategy(name: str, threads: int = 1, rematerialise: bool = False, plain_layers: bool = False) -> Strategy:
    """The strategy of that name, as a trial with so many threads wants it; raises UserError."""
    if name not in STRATEGIES:
        raise UserError(missing("There is no strategy", name, STRATEGIES))
    return STRATEGIES[name].make(threads, rematerialise, plain_layers)
