"""A results folder -> statistics, figures, pages: a pure function of what was recorded. Imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.report import statistics
    from metabench.report.build import write_report

__all__ = ["statistics", "write_report"]


def __getattr__(name: str) -> Any:
    """What is public, when it is asked for: a terminal need not wait for scipy and seaborn."""
    if name == "statistics":
        return import_module("metabench.report.statistics")
    if name == "write_report":
        return import_module("metabench.report.build").write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
