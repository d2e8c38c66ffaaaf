"""Ranges of parameters: declared once, in the annotation, and kept to wherever a parameter gets a value."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metabench.api import Positive, Range, Rate, Share, Size, Steps
from metabench.errors import UserError
from metabench.experiments.tuning.space import default_space
from metabench.registry.discovery import load_registry
from metabench.registry.parameters import resolve, signature_of

REGISTRY = load_registry()
ENTRIES = {entry.owner: entry for entry in (*REGISTRY.algorithms.values(), *REGISTRY.suites.values())}


def outside(parameter):
    """Numbers just beyond the ends of a range, and far beyond."""
    low, high = parameter.ends
    whole = {int: 1, float: 1e-9}[parameter.type]
    below = [] if low == -math.inf else [low - whole, low - 1000, *([low] if "above" in parameter.kind else [])]
    return [*below, *([] if high == math.inf else [high + whole, high + 1000])]


@pytest.mark.parametrize("owner", ENTRIES)
def test_every_number_that_a_plugin_of_ours_takes_has_a_range_and_is_held_to_it(owner):
    entry = ENTRIES[owner]
    for name, parameter in entry.parameters.items():
        assert not parameter.lacks_range
        for value in outside(parameter) if parameter.type in (int, float) else ():
            with pytest.raises(UserError) as error:
                entry.resolve({name: parameter.type(value)})
            assert str(error.value).startswith(f"Parameter '{name}' of {owner} must be {parameter.kind}, not ")
            assert parameter.help in str(error.value)


@pytest.mark.parametrize("owner", ENTRIES)
def test_a_search_stays_in_the_ranges(owner):
    parameters = ENTRIES[owner].parameters
    space = default_space(parameters, {name: one.default for name, one in parameters.items()})
    for name, dimension in space.items():
        if dimension.kind != "choice":
            assert parameters[name].ends[0] <= dimension.low <= dimension.high <= parameters[name].ends[1]


def a_factory(
    problem,
    *,
    rate: Rate = 0.5,
    positive: Positive = 0.5,
    share: Share | None = None,
    steps: Steps = 0,
    size: Size = 1,
    odd: Annotated[float, Range(gt=-1, lt=2)] | str = 0.0,
    any_: Annotated[int, Range()] = 0,
    bare: float = 0.0,
    maybe: int | None = None,
    text: str = "",
):
    """Of every kind."""


SCHEMA = signature_of(a_factory, 1)
INSIDE = {
    "rate": lambda x: x >= 0,
    "positive": lambda x: x > 0,
    "share": lambda x: 0 <= x <= 1,
    "odd": lambda x: -1 < x < 2,
}


@given(st.floats(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]), st.sampled_from(sorted(INSIDE)))
def test_what_is_inside_is_taken_and_nothing_else(value, name):
    try:
        resolve("it", SCHEMA, {name: value})
    except UserError:
        assert not INSIDE[name](value)
    else:
        assert INSIDE[name](value)


def test_a_range_is_said_in_words():
    kinds = {name: parameter.kind for name, parameter in SCHEMA.items()}
    assert kinds["rate"] == "float of at least 0"
    assert kinds["positive"] == "float above 0"
    assert kinds["share"] == "float | None from 0 to 1"
    assert kinds["steps"] == "int of at least 0"
    assert kinds["size"] == "int of at least 1"
    assert kinds["odd"] == "float | str above -1 and below 2"
    assert kinds["any_"] == "int"


def test_what_has_no_range_is_known():
    assert [name for name, parameter in SCHEMA.items() if parameter.lacks_range] == ["bare", "maybe"]


def test_a_default_outside_of_its_range_is_an_error_of_its_plugin():
    def factory(problem, *, inner_lr: Rate = -0.1): ...

    with pytest.raises(ValueError, match="the default of parameter 'inner_lr' does not fit its type"):
        signature_of(factory, 1)


@pytest.mark.parametrize(
    "setting", ["sinusoid.shots=-1", "sinusoid.queries=0", "maml.inner_steps=-1", "maml.inner_lr=-1"]
)
def test_a_run_ends_before_anything_is_written(here, tmp_path, setting):
    said = here("run", "--suites", "sinusoid", "--algos", "maml", "--set", setting, "--out", "out")
    assert said.returncode == 2
    assert said.stderr.startswith(f"metabench: Parameter '{setting.split('=')[0].split('.')[1]}' of ")
    assert list(tmp_path.iterdir()) == []
