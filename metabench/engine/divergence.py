"""Scores that are no finite numbers: how far they were, and that a trial says so."""

from __future__ import annotations

import math

from metabench.records.record import Scores


class DivergedError(Exception):
    """A loss or a score that is not a finite number."""


def divergence(scores: Scores) -> str:
    """Which metric is not finite, after which inner step, how far it was, and in how many tasks; empty if none is."""
    for metrics in scores.values():
        for metric, steps in metrics.items():
            bad = [sum(not math.isfinite(value) for value in values) for values in steps]
            if any(bad):
                first, last = (order(i for i, count in enumerate(bad) if count) for order in (min, max))
                until = f"up to {first - 1} of {len(steps) - 1}" if first else "after none"
                return (
                    f"{metric} is not finite after {last} inner steps; finite {until}; {bad[last]} of "
                    f"{len(steps[last])} tasks"
                )
    return ""


def refuse_divergence(scores: Scores) -> None:
    """Raise DivergedError if a test task has a score that is not a finite number."""
    if found := divergence(scores):
        raise DivergedError(f"at the test {found}")
