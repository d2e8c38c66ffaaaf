"""Names of suites that are crossed or changed: read as they are written, refused in one line, good as folders."""

from __future__ import annotations

import re

import pytest

from metabench.records.domains import SHIFTS, Shift, domains, parts, usual
from tests import builders


def test_a_name_says_what_is_trained_on_what_is_tested_on_and_what_is_changed():
    source, target = domains("a++:b-c+rotate=-30@query+shots=5+x_high=0.5")
    assert (source.suite, source.changes) == ("a++", ())
    assert (target.suite, target.parameters) == ("b-c", {"shots": "5", "x_high": "0.5"})
    assert target.shifts == (Shift("rotate", -30.0, "query"),)
    assert [one.name for one in domains("a")] == ["a"]
    assert parts("a:a+blur=1") == ("a", "a")
    assert parts("a") == parts("no such name") == ()


def test_names_are_in_lower_case_and_values_as_they_are_written():
    assert usual("OMNI:Emnist+split=Cross") == "omni:emnist+split=Cross"


@pytest.mark.parametrize(
    "name", ["a:b:c", "a:a", ":a", "a:", "a+rotate=", "a+1=2", "a b", "a+x=1/2", "a:" + "b" * 41]
)
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match=r"no name of a suite|one to train on|trained and tested on the same"):
        builders.trial(suite=name)


@pytest.mark.parametrize("text", ["rotate=much", "rotate=3@both", "rotate=3@", "blur=@query"])
def test_a_severity_is_a_number_and_of_a_set(text):
    (domain,) = domains(f"a+{text}")
    if text == "rotate=3@":
        assert domain.shifts == (Shift("rotate", 3.0),)
    elif text == "rotate=3@both":
        assert domain.shifts == (Shift("rotate", 3.0, "both"),)
    else:
        with pytest.raises(ValueError, match="needs a number"):
            _ = domain.shifts


def test_every_shift_is_written_as_it_is_read():
    for number, kind in enumerate(SHIFTS):
        shift = Shift(kind, number / 8, ("support", "query", "both")[number % 3])
        assert domains(f"a+{shift}")[0].shifts == (shift,)


def test_a_folder_has_no_colon():
    name = builders.trial("b", "a:a+rotate=30@query").id
    assert re.fullmatch(r"a--a\+rotate=30@query-b-s0-[0-9a-f]{10}", name)


def test_each_split_meets_the_tasks_of_the_suite_that_it_is_of():
    plain, crossed = builders.trial(suite="a"), builders.trial(suite="a:b+blur=1")
    judged = builders.trial(suite="a:b", suite_parameters={"validate": "target"})
    splits = ("train", "validation", "test")
    assert [plain.stream(split) for split in splits] == ["a", "a", "a"]
    assert [crossed.stream(split) for split in splits] == ["a", "a", "b"]
    assert [judged.stream(split) for split in splits] == ["a", "b", "b"]
