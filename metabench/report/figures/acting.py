"""The figures of suites whose tasks are environments: what a score cost there, and where policies go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.collect.example_paths import AlgorithmPaths, paths_of
from metabench.report.figures import style
from metabench.report.figures.scores import Drawn, Kind, band, line, validation
from metabench.report.figures.style import Look

ALGORITHMS, TASKS = 4, 2
"""Of the figure of trajectories: the best algorithms, and the first test tasks."""


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
        band(axes, places, values.min(0), values.max(0), look, seeds=len(values))
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


def trajectories(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """A row for each algorithm and task, a column for each inner step: the goal, and where policies went."""
    members = paths_of(groups)
    if not members:
        return None
    steps, metric = max((member.steps for member in members), key=len), groups[0].metric  # one may not adapt at all
    members = [member for member in members if member.steps == steps][:ALGORITHMS]
    rows = [(member, number) for member in members for number in range(min(TASKS, len(member.tasks)))]
    figure, panels = style.panels(len(rows), len(steps), 0.98 * len(rows) + 0.3, share_x="all", share_y="all")
    words = []
    for row, (member, number) in zip(panels, rows):
        task = member.tasks[number]
        told = [formatting.score(float(score), metric) for score in task.scores]
        words.append(f"{member.algorithm} on test task {number + 1} {', '.join(told)}")
        for axes, paths, score in zip(row, task.paths, told):
            for path in paths:
                axes.plot(*path.T, **looks[member.algorithm].ink, linewidth=0.8, alpha=0.75)
            if task.goal.size:
                axes.plot(*task.goal, color=style.INK, marker="*", markersize=7, linestyle="")
            axes.annotate(score, (0.03, 0.96), xycoords="axes fraction", va="top", fontsize=6)
            axes.set_aspect("equal")
            axes.tick_params(labelsize=6)
        row[0].set_ylabel(f"{style.wrap(member.algorithm, 16)}\ntask {number + 1}", fontsize=style.SMALL)
    for axes, step in zip(panels[0], steps):
        style.title(axes, f"after {formatting.count(step, 'step')}" if step else "before adaptation")
    frame(panels[0, 0], members[0])
    return figure, f"{metric} before adaptation and after each step shown: {'; '.join(words)}"


def frame(axes: Axes, best: AlgorithmPaths) -> None:
    """A square that holds goals, and where the best algorithm's policies go in the end; others may leave it."""
    shown = best.tasks[:TASKS]
    places = np.concatenate([part.reshape(-1, 2) for task in shown for part in (task.goal, task.paths[-1])])
    middle = (places.min(0) + places.max(0)) / 2
    reach = 0.65 * float((places.max(0) - places.min(0)).max()) or 1.0
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)


KINDS = (
    Kind("6 Examples", "trajectories", "Trajectories", trajectories,
         "Trajectories on fresh noise before adaptation and after inner steps, on the first test tasks. A star is "
         "the goal, which the policy is not told; the number is the score of the task."),
    Kind("2 Training and adaptation", "experience", "Learning curves by experience", experience,
         "Validation score against the steps that training took in environments, those of support and query sets "
         "alike."),
)  # fmt: skip
