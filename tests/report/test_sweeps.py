"""Sweeps in a report: validation chooses what stands for the algorithm, and all that was tried is drawn."""

from __future__ import annotations

import io
import random

import pandas as pd
import pytest

from metabench.records import store
from metabench.records.record import Record
from metabench.report.build import build_report
from metabench.report.collect.configurations import collect
from metabench.report.collect.sweeps import chosen_of, validation
from metabench.report.figures import style
from metabench.report.figures.sensitivity import DECADES, places_of, profile, sensitivity
from tests import builders
from tests.sketches import sketched

VALIDATED = {0.001: 0.7, 0.01: 0.9, 0.1: 0.8}
TESTED = {0.001: 0.95, 0.01: 0.6, 0.1: 0.5}
"""The luckiest on the test tasks is not the one that validation chooses."""


def swept(seed: int, rate: float, swept: tuple[str, ...] = ("inner_lr",), **fields):
    parameters = {"inner_lr": rate, "inner_steps": 1, **fields}
    trial = builders.trial("mine", "glyphs", seed, algorithm_parameters=parameters, swept=swept)
    cells = [[TESTED[rate] + 0.01 * seed - 0.02 * task for task in range(6)]]
    curve = builders.points({0: 0.2, 5: VALIDATED[rate]})
    return builders.outcome(trial, {"transductive": cells}, curve=curve)


def other(seed: int):
    trial = builders.trial("other", "glyphs", seed)
    cells = [[0.55 + 0.01 * seed - 0.01 * task for task in range(6)]]
    return builders.outcome(trial, {"transductive": cells}, curve=builders.points({0: 0.2, 5: 0.6}))


def groups_of(root, outcomes):
    for outcome in outcomes:
        store.write(root, outcome)
    return chosen_of(collect(store.records(root), root))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    for seed in range(2):
        for one in (*(swept(seed, rate) for rate in VALIDATED), other(seed)):
            store.write(folder, one)
    return folder


def test_validation_chooses_and_test_scores_do_not(root):
    groups = chosen_of(collect(store.records(root), root))
    assert [group.algorithm for group in groups] == ["mine (inner_lr=0.01)", "other"]
    mine, plain = groups
    assert len(mine.points) == 3
    assert mine.swept == ("inner_lr",)
    assert validation(mine) == pytest.approx(0.9)
    assert not plain.points


def test_the_report_counts_a_sweep_once_and_says_so(root):
    with sketched():
        report = build_report([root], formats=["svg"])
    assert set(report.tables["summary"]["algorithm"]) == {"mine (inner_lr=0.01)", "other"}
    (said,) = (note for note in report.notes if "swept over" in note)
    assert "3 settings; inner_lr=0.01 has the best validation score (90.00%)" in said
    assert any("other was not swept. The comparison favours" in note for note in report.notes)
    table = pd.read_csv(io.BytesIO(report.files["tables/sweeps.csv"]))
    assert dict(zip(table["parameters"], table["chosen"])) == {
        "inner_lr=0.001": False, "inner_lr=0.01": True, "inner_lr=0.1": False
    }  # fmt: skip
    assert len(report.tables["trials"]) == 8
    assert "figures/glyphs-sensitivity.svg" in report.files


def test_the_figure_is_of_every_value_in_order(root):
    groups = chosen_of(collect(store.records(root), root))
    assert list(profile(groups[0], "inner_lr")) == [0.001, 0.01, 0.1]
    with style.drawing("sensitivity"):
        figure, words = sensitivity(groups, style.looks(group.algorithm for group in groups))
    (axes,) = (panel for panel in figure.axes if panel.get_visible())
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "inner_lr"
    (line,) = (drawn for drawn in axes.lines if len(drawn.get_xdata()) == 3)
    scores = {
        point.records[0].trial.algorithm_parameters["inner_lr"]: point.score().mean for point in groups[0].points
    }
    assert list(line.get_xdata()) == pytest.approx(sorted(scores))
    assert list(line.get_ydata()) == pytest.approx([scores[rate] for rate in sorted(scores)])
    assert "inner_lr: 0.001 90" in words


def test_a_value_that_was_run_before_belongs_to_the_sweep(tmp_path):
    outcomes = [swept(0, 0.1, swept=()), swept(0, 0.01), swept(0, 0.001), swept(0, 0.01, inner_steps=5)]
    groups = groups_of(tmp_path, outcomes)
    assert [len(group.points) for group in groups if group.points] == [3]
    assert len(groups) == 2  # other inner steps, which nobody swept, are a configuration of their own


def test_two_grids_are_one_sweep_with_a_profile_for_each(tmp_path):
    outcomes = [swept(0, rate, ("inner_lr", "inner_steps"), inner_steps=s) for rate in VALIDATED for s in (1, 2)]
    random.Random(0).shuffle(outcomes)
    (group,) = groups_of(tmp_path, outcomes)
    assert len(group.points) == 6
    steps = profile(group, "inner_steps")
    assert list(steps) == [1, 2]
    assert all(validation(point) == pytest.approx(0.9) for point in steps.values())


def test_fewer_seeds_or_no_validation_are_not_chosen(tmp_path):
    failed = builders.failure(swept(1, 0.01).record.trial, "diverged")
    outcomes = [swept(0, 0.01), failed, swept(0, 0.1), swept(1, 0.1)]
    (group,) = groups_of(tmp_path / "failed", outcomes)
    assert group.algorithm == "mine (inner_lr=0.1)"
    bare = [builders.outcome(one.record.trial, one.scores["transductive"] and {"transductive": [[0.5, 0.6]]})
            for one in (swept(0, 0.01), swept(0, 0.1))]  # fmt: skip
    assert len(groups_of(tmp_path / "bare", bare)) == 2


def test_without_a_sweep_nothing_changes(tmp_path):
    for one in (swept(0, 0.1, swept=()), swept(0, 0.01, swept=())):
        store.write(tmp_path, one)
    groups = collect(store.records(tmp_path), tmp_path)
    assert chosen_of(groups) == groups


def test_an_axis_is_logarithmic_where_values_span_decades():
    for values, scale in (((1, DECADES), "log"), ((1, DECADES - 1), "linear"), ((0, 10, 100), "linear")):
        with style.drawing("axis"):
            _, axes = style.canvas(2)
            assert places_of(axes, values) == {str(value): float(value) for value in values}
            assert axes.get_xscale() == scale
    with style.drawing("axis"):
        _, axes = style.canvas(2)
        assert places_of(axes, [True, False, None]) == {"true": 0.0, "false": 1.0, "null": 2.0}


def test_records_say_what_was_swept():
    assert Record(trial=swept(0, 0.1).record.trial, status="ok").trial.swept == ("inner_lr",)
