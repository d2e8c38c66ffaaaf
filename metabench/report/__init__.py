"""A results folder -> statistics, figures, pages: a pure function of what was recorded. Imports no torch."""

from metabench.report.build import write_report

__all__ = ["write_report"]
