"""What a report says of suites whose tasks are environments."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from metabench.records import store
from metabench.records.record import Example, Examples
from metabench.records.trials import Budget
from metabench.report import write_report
from metabench.report.collect import configurations
from metabench.report.figures import style
from metabench.report.figures.acting import experience, trajectories
from tests import builders
from tests.sketches import sketched

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
    assert words == "walker at −9.500 after 0.20 million"


def test_where_there_are_no_environments_there_is_no_such_figure(tmp_path):
    assert drawn(written(tmp_path, environment_steps=0)) is None


@pytest.mark.parametrize("tasks", [0, 2])
def test_few_tasks_are_warned_of(tmp_path, tasks):
    written(tmp_path / "results", distinct_tasks=tasks)
    with sketched():
        write_report(tmp_path / "results", tmp_path / "page", formats=["svg"])
    text = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert ("There are 2 tasks in all, the same in training and test" in text) == (tasks == 2)


def walks(steps=(0, 1), paths=2, points=3):
    """Two tasks: in each the trajectories go further towards the goal, (1, 2), after a step."""
    way = [[share * x for _ in range(paths) for at in range(points) for x in (at, 2 * at)] for share in (0.1, 0.5)]
    task = Example(support_x=[], support_y=[1.0, 2.0], query_x=[], query_y=[], predicted=way)
    return Examples(protocol="transductive", steps=list(steps), paths=paths, tasks=[task, task])


def with_examples(folder, kept):
    """The figure of one algorithm with these examples."""
    trial = builders.trial("walker", "field", budget=Budget(test_tasks=8, test_steps=1))
    cells = {"transductive": np.arange(16.0).reshape(2, 8)}
    store.write(folder, builders.outcome(trial, cells, "return", examples=kept))
    with style.drawing("test"):
        return trajectories(configurations.collect(store.records(folder), folder), style.looks(["walker"]))


def test_trajectories_are_drawn_as_they_were(tmp_path):
    figure, words = with_examples(tmp_path, walks())
    panels = np.array(figure.axes).reshape(2, 2)  # tasks, steps
    for row in panels:
        for axes, share in zip(row, (0.1, 0.5)):
            first, second, goal = (line.get_xydata() for line in axes.lines)
            assert first == pytest.approx(share * np.array([[0, 0], [1, 2], [2, 4]]))
            assert np.array_equal(first, second)
            assert np.array_equal(goal, [[1.0, 2.0]])
    assert re.search(r"walker on test task 1 0\.0*, 8\.0*;", words)


def test_trajectories_that_do_not_fit_together_are_passed_over(tmp_path):
    (task, _) = walks().tasks
    odd = msgspec.structs.replace(task, predicted=[[0.0] * 9] * 2)
    assert with_examples(tmp_path, msgspec.structs.replace(walks(), tasks=[odd])) is None


def test_a_better_one_that_does_not_adapt_does_not_hide_those_that_do(tmp_path):
    trial = builders.trial("told", "field", budget=Budget(test_tasks=8, test_steps=0))
    still = walks(steps=[0])
    still = msgspec.structs.replace(
        still, tasks=[msgspec.structs.replace(task, predicted=task.predicted[:1]) for task in still.tasks]
    )
    store.write(tmp_path, builders.outcome(trial, {"transductive": np.full((1, 8), 99.0)}, "return", examples=still))
    with style.drawing("test"):
        looks = style.looks(["told", "walker"])
        groups = configurations.collect(store.records(tmp_path), tmp_path)
        assert "told" in trajectories(groups, looks)[1]
        walker = builders.trial("walker", "field", budget=Budget(test_tasks=8, test_steps=1))
        cells = {"transductive": np.arange(16.0).reshape(2, 8)}
        store.write(tmp_path, builders.outcome(walker, cells, "return", examples=walks()))
        words = trajectories(configurations.collect(store.records(tmp_path), tmp_path), looks)[1]
    assert "walker" in words
    assert "told" not in words
