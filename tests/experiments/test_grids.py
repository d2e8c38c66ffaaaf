"""Grids of settings: several values are several trials, what holds commas itself is none, nobody starts a million."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from metabench.api import Range
from metabench.errors import UserError
from metabench.experiments.grids import MAX_TRIALS, grid_of, points, refuse_grids, refuse_too_many
from metabench.experiments.options import Options
from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.registry.discovery import Entry
from metabench.registry.parameters import signature_of


def factory(
    problem,
    *,
    rate: Annotated[float, Range(gt=0)] = 0.1,
    steps: int = 1,
    switch: bool = False,
    kind: Literal["adam", "sgd"] = "adam",
    where: str = "",
    sizes: tuple[int, ...] = (),
    limit: float | None = None,
):
    """Some parameters of every sort."""


ENTRY = Entry("algorithm", "mine", factory, signature_of(factory, 1), "plugin")


def grid(given: Any) -> dict[str, list[Any]]:
    return grid_of(read_options(None, {"set": given}), ENTRY)


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("rate=0.01,0.05,1e-1", [0.01, 0.05, 0.1]),
        ("rate=[0.01,0.05]", [0.01, 0.05]),
        ("rate=0.1, 0.2", [0.1, 0.2]),
        ("rate=1,1.0,2", [1.0, 2]),
        ("rate=0.5", [0.5]),
        ("switch=true,false", [True, False]),
        ("kind=sgd,adam", ["sgd", "adam"]),
        ("limit=null,3", [None, 3]),
        ("where=a,b.csv", ["a,b.csv"]),
        ("sizes=[40,40]", [[40, 40]]),
    ],
)
def test_what_is_no_value_as_it_stands_is_a_list_of_them(typed, values):
    (name,) = typed.split("=")[:1]
    assert grid([f"mine.{typed}"]) == {name: values}


def test_python_and_a_file_give_lists(tmp_path):
    (tmp_path / "bench.toml").write_text('[set.mine]\nrate = [0.1, 0.2]\nkind = ["adam", "sgd"]\n', encoding="utf-8")
    from_file = grid_of(read_options(tmp_path / "bench.toml", {}), ENTRY)
    assert from_file == {"rate": [0.1, 0.2], "kind": ["adam", "sgd"]}
    assert grid({"mine.rate": (0.1, 0.2), "mine": {"where": ["a", "b"]}}) == {"rate": [0.1, 0.2], "where": ["a", "b"]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["mine.sizes=40,50"], "a grid is of numbers, switches or choices"),
        (["mine.sizes=[1,2],[3]"], "written as JSON"),
        (["mine.rate=[[0.1],[0.2]]"], "a grid is of numbers"),
        (["mine.rate=0.1,,0.2"], "must be float above 0, not ''"),
        (["mine.rate=0.1,-1"], "must be float above 0, not -1"),
        (["mine.kind=adam,sdg"], "must be 'adam' | 'sgd', not 'sdg'"),
        ({"mine.rate": []}, "The list of values for 'mine.rate' is empty"),
    ],
)
def test_what_is_no_grid_is_refused_in_one_line(given, says):
    with pytest.raises(UserError, match=r"^[^\n]*$") as refused:
        grid(given)
    assert says in str(refused.value)


def test_several_grids_are_a_product_and_say_what_was_swept():
    options = read_options(None, {"set": ["mine.rate=0.1,0.2", "mine.steps=1,2,3", "mine.switch=true", "other.x=1"]})
    found = list(points(options, ENTRY))
    assert len({str(point.options.set["mine"]) for point in found}) == len(found) == 6
    assert {point.swept for point in found} == {("rate", "steps")}
    assert all(point.options.set["other"] == {"x": 1} and point.options.set["mine"]["switch"] for point in found)
    assert [point.swept for point in points(Options(), ENTRY)] == [()]


def test_a_million_is_refused_before_it_is_laid_out():
    many = {"mine": {name: list(range(1, 10_001)) for name in ("rate", "steps")}}
    with pytest.raises(UserError, match=r"300,000,000 trials, and 1,000 is the most"):
        refuse_too_many(Options(set=many), [(ENTRY,)], [ENTRY._replace(name="other")], 3)
    refuse_too_many(Options(), [(ENTRY,)] * MAX_TRIALS, [ENTRY], 2)  # no grid: no limit
    with pytest.raises(UserError, match=r"--space mine.rate="):
        refuse_grids(read_options(None, {"set": ["mine.rate=0.1,0.2"]}), [ENTRY])


def test_a_sweep_is_trials_that_are_what_they_would_be_alone(registry):
    given = {"algos": "maml,reptile", "suites": "sinusoid", "seeds": 2}
    swept = plan_trials(
        read_options(None, {**given, "set": ["maml.inner_lr=0.1,0.2", "sinusoid.shots=5,10"]}), registry
    )
    assert len(swept) == 2 * (2 + 1) * 2
    alone = plan_trials(read_options(None, {**given, "set": ["maml.inner_lr=0.2", "sinusoid.shots=5"]}), registry)
    by_id = {trial.id: trial for trial in swept}
    for trial in alone:
        assert msgspec.structs.replace(by_id[trial.id], swept=()) == trial
    assert {trial.swept for trial in swept} == {("inner_lr",), ()}
    assert len(by_id) == len(swept)


def test_a_crossed_suite_takes_the_grids_of_its_parts(registry):
    given = {
        "algos": "scratch",
        "suites": "sinusoid,sinusoid+phase_low=0.5",
        "seeds": 1,
        "set": ["sinusoid.shots=5,10"],
    }
    planned = plan_trials(read_options(None, given), registry)
    assert [(trial.suite, trial.suite_parameters["shots"]) for trial in planned] == [
        (suite, shots) for suite in ("sinusoid", "sinusoid+phase_low=0.5") for shots in (5, 10)
    ]
