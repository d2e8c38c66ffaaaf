"""The conformance kit: `metabench check NAME`, and `kit("NAME")` in an author's own tests."""

from metabench.testing.checks import Result
from metabench.testing.conformance import check_algorithm, check_plugin, check_suite, explain
from metabench.testing.pytest_kit import kit

__all__ = ["Result", "check_algorithm", "check_plugin", "check_suite", "explain", "kit"]
