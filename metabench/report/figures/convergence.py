"""How far meta-training is from rest: the norm of the meta-gradient over the updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.figures import style
from metabench.report.figures.scores import Drawn, Kind, band, line
from metabench.report.figures.style import Look


def convergence(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The norm against updates, on a logarithmic scale: the mean over seeds, a band from the lowest to highest."""
    known = [(group, *norms(group)) for group in first_of_each(groups)]
    known = [(group, updates, values) for group, updates, values in known if len(updates) > 1]
    if not known:
        return None
    figure, axes = style.canvas(3.1)
    words = []
    for group, updates, values in known:
        look, middle = looks[group.algorithm], values.mean(0)
        band(axes, updates, values.min(0), values.max(0), look, seeds=len(values))
        line(axes, updates, middle, look, group.algorithm, dashed=False)
        words.append(f"{group.algorithm} from {middle[0]:.3g} to {middle[-1]:.3g} in {updates[-1]:,.0f} updates")
    style.log("y", axes)
    axes.set_xlabel("meta-updates")
    axes.set_ylabel("norm of the meta-gradient\n(log scale)")
    axes.set_xlim(0, max(updates[-1] for _, updates, _ in known) * 1.02)
    style.legend(figure, axes)
    return figure, "; ".join(words)


def norms(group: Configuration) -> tuple[np.ndarray, np.ndarray]:
    """Updates [points] and norms [seeds, points], where all seeds have one that a logarithm can show."""
    known = [
        {point.update: point.gradient_norm for point in record.curve if point.gradient_norm}
        for record in group.scored_records
    ]
    shared = sorted(set.intersection(*map(set, known))) if known else []
    return np.array(shared), np.array([[norm[update] for update in shared] for norm in known])


KINDS = (
    Kind("2 Training and adaptation", "convergence", "Convergence", convergence,
         "The norm of the meta-gradient, or of the direction taken in its place, at the last update before each "
         "validation: mean over the seeds, band from the lowest to the highest."),
)  # fmt: skip
