"""A results folder -> statistics, figures, pages: a pure function of what was recorded. Imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.report import statistics
    from metabench.report.build import figures, write_report

__all__ = ["figures", "statistics", "write_report"]


def __getattr__(name: str) -> Any:
    """What is public, when it is asked for: a terminal need not wait for scipy and seaborn."""
    if name == "statistics":
        return import_module("metabench.report.statistics")
    if name in ("figures", "write_report"):
        return getattr(import_module("metabench.report.build"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
