"""What a suite or an algorithm does where its author says nothing."""

from __future__ import annotations


def constant(progress: float) -> float:
    """The schedule that leaves the outer learning rate alone."""
    return 1.0


def no_groups(split: str) -> frozenset[str]:
    """For task families without classes."""
    return frozenset()


def nothing_to_prepare() -> None:
    """For suites that need no data."""


def no_notes() -> tuple[str, ...]:
    """For suites that use all of their data."""
    return ()


def no_digest() -> str:
    """For suites that draw their tasks from formulas."""
    return ""
