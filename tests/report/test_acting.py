"""What a report says of suites whose tasks are environments."""

from __future__ import annotations

import numpy as np
import pytest

from metabench.records import store
from metabench.records.trials import Budget
from metabench.report import write_report
from metabench.report.collect import configurations
from metabench.report.figures import style
from metabench.report.figures.acting import experience
from tests import builders

PER_UPDATE = 2_000


def written(folder, environment_steps=PER_UPDATE, distinct_tasks=0):
    """Two seeds on an environment, validated before the first update and after 50 and 100."""
    for seed in range(2):
        trial = builders.trial("walker", "field", seed, budget=Budget(updates=100, test_tasks=8, test_steps=1))
        cells = np.random.default_rng(seed).normal(size=(2, 8))
        outcome = builders.outcome(
            trial,
            {"transductive": cells},
            "return",
            curve=builders.points({0: -40.0 + seed, 50: -20.0 + seed, 100: -10.0 + seed}, 0.1),
            selection="best on validation",
            environment_steps=environment_steps,
            distinct_tasks=distinct_tasks,
        )
        store.write(folder, outcome)
    return configurations.collect(store.records(folder), folder)


def drawn(groups):
    with style.drawing("test"):
        return experience(groups, style.looks(group.algorithm for group in groups))


def test_a_learning_curve_counts_the_steps_of_environments(tmp_path):
    figure, words = drawn(written(tmp_path))
    (line,) = figure.axes[0].lines
    assert line.get_xdata() == pytest.approx([0.0, 0.1, 0.2])  # millions: 0, 50 and 100 updates
    assert line.get_ydata() == pytest.approx([-39.5, -19.5, -9.5])
    assert words == "walker at -9.500 after 0.20 million"


def test_where_there_are_no_environments_there_is_no_such_figure(tmp_path):
    assert drawn(written(tmp_path, environment_steps=0)) is None


@pytest.mark.parametrize("tasks", [0, 2])
def test_few_tasks_are_warned_of(tmp_path, tasks):
    written(tmp_path / "results", distinct_tasks=tasks)
    write_report(tmp_path / "results", tmp_path / "page", formats=["svg"])
    text = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert ("There are 2 tasks in all, the same in training and test" in text) == (tasks == 2)
