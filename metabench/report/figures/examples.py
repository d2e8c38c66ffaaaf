"""The first test tasks themselves: curves before and after inner steps, and sheets of images with predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from metabench.report import formatting
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.example_tasks import AlgorithmExamples, ExampleTask, of_suite
from metabench.report.figures import style
from metabench.report.figures.scores import Drawn, Kind
from metabench.report.figures.style import Look
from metabench.report.statistics.intervals import Array

ROWS = 8
"""Algorithms of a figure at most: the best ones."""
CURVES, SHEETS = 3, 2
"""Tasks of a figure."""
ALONG = 40
"""Points of a curve."""
DASHES = ((1, 1.3), (3, 1.3), (6, 1.3))
"""Of the steps before the last."""
COLUMNS = 10
"""Images beside each other."""
CELL, LINE = 0.33, 0.6
"""Inches that an image takes; the height of a line of predictions beside an image's."""
WRONG = "#b8351c"
"""Behind a class that is not the true one."""


def curves(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """A row for each algorithm, a column for each task: the true curve, the support points, what was predicted."""
    members = of_suite(groups, images=False)[:ROWS]
    if not members:
        return None
    count = min(CURVES, *(len(member.tasks) for member in members))
    figure, panels = style.panels(len(members), count, 0.9 + 0.95 * len(members), share_x="col", share_y="col")
    drawn = sorted({step for member in members for step in member.steps})
    strokes = {step: stroke(index, len(drawn)) for index, step in enumerate(drawn)}
    metric = groups[0].metric
    for row, member in zip(panels, members):
        for axes, task in zip(row, member.tasks):
            fitted(axes, member.steps, task, strokes)
            told = formatting.score(float(task.scores[-1]), metric)
            paper = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
            axes.annotate(told, (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=6, bbox=paper)
        row[0].set_ylabel(style.wrap(member.algorithm, 16), fontsize=style.SMALL)
    for index, axes in enumerate(panels[0]):
        style.title(axes, f"test task {index + 1}")
        framed(axes, [member.tasks[index] for member in members])
    handles = [
        Line2D([], [], color=style.INK, linewidth=0.9, label="true"),
        Line2D([], [], color=style.INK, marker="o", linestyle="", markersize=3, label="support"),
        *(Line2D([], [], label=after(step), **strokes[step]) for step in drawn),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=style.fit(30) // 10)
    return figure, worded(members, count, metric)


def stroke(index: int, count: int) -> dict[str, Any]:
    """From pale and broken to dark and solid."""
    shade = sns.color_palette("flare", count).as_hex()[index]
    dashes = (None, None) if index == count - 1 else DASHES[index % len(DASHES)]
    return {"color": shade, "dashes": dashes, "linewidth": 1.3}


def fitted(axes: Axes, steps: Sequence[int], task: ExampleTask, strokes: Mapping[int, dict[str, Any]]) -> None:
    """One task and one algorithm."""
    order = np.argsort(task.query_x, kind="stable")
    order = order[style.thinned(len(order), ALONG)]
    axes.plot(task.query_x[order], task.query_y[order], color=style.INK, linewidth=0.9)
    for step, values in zip(steps, task.predicted):
        axes.plot(task.query_x[order], values[order], **strokes[step])
    axes.plot(task.support_x, task.support_y, color=style.INK, marker="o", linestyle="", markersize=2.6)
    axes.tick_params(labelsize=6.5)
    axes.locator_params(nbins=4)


def framed(axes: Axes, tasks: Sequence[ExampleTask]) -> None:
    """Limits that the truth fits into, with as much room again for what is far from it."""
    true = np.concatenate([part for task in tasks for part in (task.support_y, task.query_y)])
    room = 0.5 * (true.max() - true.min()) or 1.0
    guesses = np.concatenate([task.predicted.ravel() for task in tasks])
    low, high = max(guesses.min(), true.min() - room), min(guesses.max(), true.max() + room)
    margin = 0.12 * room
    axes.set_ylim(min(low, true.min()) - margin, max(high, true.max()) + 3 * margin)


def after(step: int) -> str:
    return f"after {formatting.count(step, 'step')}" if step else "before the first"


def worded(members: Sequence[AlgorithmExamples], count: int, metric: str) -> str:
    """The scores that the panels show, before the first step and after the last."""
    words = []
    for member in members:
        scores = [[formatting.score(float(score), metric) for score in task.scores] for task in member.tasks[:count]]
        words.append(f"{member.algorithm} {', '.join(f'{of_task[0]} to {of_task[-1]}' for of_task in scores)}")
    last = members[0].steps[-1]
    start = "before the first" if members[0].steps[0] == 0 else after(members[0].steps[0])
    return f"{metric} of test tasks 1 to {count} {start} inner step to after {last}: {'; '.join(words)}"


def sheet(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """For each task: its support images, some query images, and below them what each algorithm took them for."""
    members = of_suite(groups, images=True)[:ROWS]
    members = [member for member in members if same(member, members[0])]
    if not members:
        return None
    tasks = members[0].tasks[:SHEETS]
    heights = [rows_of(task, len(members)) for task in tasks]
    figure, panels = style.panels(len(tasks), 1, CELL * sum(heights) + 0.5 * len(tasks), heights=heights)
    words = []
    for index, (axes, task, height) in enumerate(zip(panels[:, 0], tasks, heights)):
        axes.set_axis_off()
        axes.set_xlim(-0.05, COLUMNS)
        axes.set_ylim(height, 0)
        axes.set_aspect("equal")
        style.title(axes, f"test task {index + 1}")
        below = images(axes, task.support_x, task.support_y, 0.0, "support")
        below = images(axes, task.query_x, task.query_y, below + 0.2, "query")
        for row, member in enumerate(members):
            predictions(axes, member, index, below + LINE * (row + 0.5))
            right = int((member.tasks[index].predicted[-1] == task.query_y).sum())
            count = f"{right} of {len(task.query_y)} query images right"
            words.append(f"test task {index + 1}: {member.algorithm} {count}")
    return figure, "; ".join(words)


def same(one: AlgorithmExamples, other: AlgorithmExamples) -> bool:
    """Whether two saw the same tasks, as all trials of a suite do."""
    pairs = list(zip(one.tasks, other.tasks))
    return len(one.tasks) == len(other.tasks) and all(np.array_equal(a.query_x, b.query_x) for a, b in pairs)


def rows_of(task: ExampleTask, members: int) -> float:
    """Height of a task's sheet, in images."""
    lines = sum(-(-len(values) // COLUMNS) for values in (task.support_y, task.query_y[:COLUMNS]))
    return lines * (1 + LINE) + 0.2 + LINE * members


def images(axes: Axes, pixels: Array, classes: Array, top: float, label: str) -> float:
    """Rows of images, the number of each one's class above it; where they end."""
    beside(axes, label, top + LINE + 0.5)
    count = len(classes) if label == "support" else min(COLUMNS, len(classes))
    shade = "gray_r" if np.median(pixels) < 0.5 else "gray"
    for first in range(0, count, COLUMNS):
        row = pixels[first : min(first + COLUMNS, count)]
        padded = np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0.0 if shade == "gray_r" else 1.0)
        strip = np.concatenate(list(padded), axis=1)
        strip = strip[:, :, 0] if strip.shape[2] == 1 else strip
        extent = (0, len(row), top + LINE + 1, top + LINE)
        axes.imshow(strip, cmap=shade, vmin=0, vmax=1, extent=extent, interpolation="none", aspect="equal")
        for column, value in enumerate(classes[first : first + len(row)]):
            axes.text(column + 0.5, top + LINE / 2, f"{value + 1:.0f}", ha="center", va="center", fontsize=7)
        top += 1 + LINE
    return top


def predictions(axes: Axes, member: AlgorithmExamples, index: int, middle: float) -> None:
    """One algorithm's line: the class it predicts after its last step, boxed where it is wrong."""
    task = member.tasks[index]
    beside(axes, style.wrap(member.algorithm, 18).partition("\n")[0], middle)
    for column, (value, true) in enumerate(zip(task.predicted[-1], task.query_y[:COLUMNS])):
        box = {"boxstyle": "round,pad=0.18", "facecolor": WRONG, "edgecolor": "none"}
        wrong: dict[str, Any] = {"color": style.PAPER, "bbox": box} if value != true else {}
        axes.text(column + 0.5, middle, f"{value + 1:.0f}", ha="center", va="center", fontsize=7, **wrong)


def beside(axes: Axes, text: str, middle: float) -> None:
    """What a line is, at its left."""
    axes.annotate(text, (0, middle), (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=7)


KINDS: tuple[Kind, ...] = (
    Kind("6 Examples", "curves", "Fitted curves", curves,
         "The first test tasks at each algorithm’s first seed: truth, support points, and predictions before and "
         "after inner steps; the number: the final score."),
    Kind("6 Examples", "sheet", "Some test tasks and predictions", sheet,
         "Images of the first test tasks under their true class; below, what each algorithm predicts after its last "
         "step, boxed where it is wrong."),
)  # fmt: skip
