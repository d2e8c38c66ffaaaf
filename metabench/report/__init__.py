"""A results folder -> statistics, figures, pages: a pure function of what was recorded. Imports no torch."""

from importlib import import_module
from types import ModuleType

from metabench.report.build import write_report

__all__ = ["statistics", "write_report"]  # noqa: F822


def __getattr__(name: str) -> ModuleType:
    """`statistics` when it is asked for: a terminal need not wait for scipy."""
    if name == "statistics":
        return import_module("metabench.report.statistics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
