"""What was computed from other code or data is never compared or averaged, and what is unknown is said to be."""

from __future__ import annotations

import pytest

from metabench.records import store
from metabench.records.matching import mismatches
from metabench.records.provenance import Digests, Provenance
from metabench.report.analysis.pairs import comparison_groups
from metabench.report.build import build_report
from metabench.report.collect.configurations import collect
from metabench.report.collect.merge import merge
from metabench.report.compare.verdicts import compare
from tests.builders import outcome, trial
from tests.sketches import sketched

SAME = {"algorithm": "a" * 12, "suite": "b" * 12, "data": "c" * 12, "tests": "d" * 12}


def write(root, name="m", seed=0, shift=0.0, **changed) -> None:
    """A trial with four test tasks; `unknown=True` is one of an earlier metabench."""
    digests = Digests() if changed.pop("unknown", False) else Digests(**SAME | changed)
    cells = {"inductive": [[0.1 + shift, 0.2, 0.4, 0.5]] * 2}
    store.write(root, outcome(trial(name, seed=seed), cells, provenance=Provenance(digests=digests)))


def groups(root):
    """Suite and algorithm of each row of a table, with its seeds."""
    merged = merge([root])
    return {(g.suite, g.algorithm): sorted(g.steps) for g in collect(merged.records, merged.roots)}


@pytest.mark.parametrize("part", SAME)
def test_seeds_that_do_not_match_are_two_rows(tmp_path, part):
    for seed in (0, 1):
        write(tmp_path, seed=seed)
    write(tmp_path, seed=2, **{part: "e" * 12})
    found = groups(tmp_path)
    assert sorted(found.values()) == [[0, 1], [2]]
    word = {"algorithm": "code", "suite": "code"}.get(part, part)
    assert {f"{suite} {algorithm}" for suite, algorithm in found} == (
        {f"s m ({word}=aaaaaaaa)", f"s m ({word}=eeeeeeee)"}
        if part == "algorithm"
        else {f"s ({word}={SAME[part][:8]}) m", f"s ({word}=eeeeeeee) m"}
    )
    (line,) = mismatches(store.records(tmp_path))
    assert f"{word} {SAME[part][:8]} (2), eeeeeeee (1)" in line
    if part == "data":  # a report takes its time, and all parts go the same way
        with sketched():
            assert line in build_report([tmp_path], formats=["svg"]).notes


def test_algorithms_on_other_data_are_not_compared(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "one", seed)
        write(tmp_path, "two", seed, shift=0.2, data="e" * 12)
    assert len({suite for suite, _ in groups(tmp_path)}) == 2
    merged = merge([tmp_path])
    found = comparison_groups(collect(merged.records, merged.roots))
    assert [len(members) for members in found.values()] == [1, 1]


def test_what_is_unknown_is_taken_to_match_and_said(tmp_path):
    write(tmp_path, seed=0)
    write(tmp_path, seed=1, unknown=True)
    assert groups(tmp_path) == {("s", "m"): [0, 1]}
    assert "1 trial is of an earlier metabench" in mismatches(store.records(tmp_path))[0]
    write(tmp_path, seed=2, data="e" * 12)
    assert sorted(groups(tmp_path).values()) == [[0], [1], [2]]


def test_all_of_an_earlier_metabench_say_nothing(tmp_path):
    write(tmp_path, seed=0, unknown=True)
    write(tmp_path, seed=1, unknown=True)
    assert groups(tmp_path) == {("s", "m"): [0, 1]}
    assert mismatches(store.records(tmp_path)) == []


@pytest.mark.parametrize(
    ("part", "why"),
    [("suite", "other code of the suite"), ("data", "other data"), ("tests", "other test tasks"), ("algorithm", "")],
)
def test_a_change_of_the_algorithm_is_what_compare_is_for_and_no_other(tmp_path, part, why):
    for seed in (0, 1):
        write(tmp_path / "before", seed=seed)
        write(tmp_path / "after", seed=seed, shift=0.1, **{part: "e" * 12})
    found = compare(merge([tmp_path / "before"]), merge([tmp_path / "after"]))
    (change,) = found.changes
    assert any(
        "the algorithm's code: aaaaaaaaaaaa before, eeeeeeeeeeee after." in note for note in found.notes
    ) != bool(why)
    assert (change.algorithm, change.why if why else "") == ("m", why)
    assert (change.verdict == "not comparable") == bool(why)


def test_compare_takes_of_several_the_one_that_matches(tmp_path):
    write(tmp_path / "before", seed=0)
    write(tmp_path / "before", seed=1, data="e" * 12)
    for seed in (0, 1):
        write(tmp_path / "after", seed=seed, shift=0.1)
    found = compare(merge([tmp_path / "before"]), merge([tmp_path / "after"])).changes
    assert sorted(change.verdict == "not comparable" for change in found) == [False, True]
