"""The figure of suites whose tasks are environments: what a score cost there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.figures import style
from metabench.report.figures.scores import Drawn, Kind, band, line, validation
from metabench.report.figures.style import Look


def experience(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Validation score against the steps that were taken in environments: mean over seeds, lowest to highest."""
    figure, axes = style.canvas(3.1)
    means, words, ends = [], [], [0.0]
    for group in first_of_each(groups):
        each = group.records[0].environment_steps
        updates, _, values = validation(group)
        if not each or len(updates) < 2:
            continue
        look, places = looks[group.algorithm], each * updates / 1e6
        band(axes, places, values.min(0), values.max(0), look)
        line(axes, places, values.mean(0), look, group.algorithm, dashed=False)
        means += list(values.mean(0))
        ends.append(float(places[-1]))
        last = formatting.score(values.mean(0)[-1], group.metric)
        words.append(f"{group.algorithm} at {last} after {formatting.amount(places[-1])} million")
    if not words:
        return None
    axes.set_xlabel("millions of steps in the environments")
    axes.set_xlim(0, max(ends) * 1.02)
    style.scale("y", axes, means, groups[0], prefix="validation ")
    style.legend(figure, axes)
    return figure, "; ".join(words)


KINDS = (
    Kind("2 Training and adaptation", "experience", "Learning curves by experience", experience,
         "Validation score against the steps that training took in environments, those of support and query sets "
         "alike."),
)  # fmt: skip
