"""Which algorithms ran with the defaults of their factories, where no recipe and no user said anything."""

from __future__ import annotations

from collections.abc import Iterable

from metabench.report.collect.configurations import Configuration


def cautions(groups: Iterable[Configuration]) -> list[str]:
    """One sentence per suite on which an algorithm did."""
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        if any(record.trial.default_settings for record in group.records):
            found.setdefault(group.suite, {})[group.algorithm] = None
    return [
        f"Caution: default settings on {suite}, as its recipe says nothing of them: {', '.join(names)}."
        for suite, names in found.items()
    ]
