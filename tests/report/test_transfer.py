"""The transfer gap: which two are compared, that they are paired on tasks and seeds, and where a report says it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from metabench.records import store
from metabench.records.provenance import Digests, Provenance
from metabench.records.record import Outcome
from metabench.report.analysis import transfer
from metabench.report.build import build_report
from metabench.report.collect.configurations import collect
from metabench.report.statistics import cohens_d, difference
from tests import builders
from tests.sketches import sketched

TASKS = 30
LEVEL = np.random.default_rng(0).uniform(0.3, 0.8, TASKS)


def made(suite: str, seed: int, gain: float, tests: str, algorithm: str = "one", **parameters) -> Outcome:
    noise = np.random.default_rng([seed, *suite.encode()]).normal(0, 0.01, TASKS)
    trial = builders.trial(algorithm, suite, seed, suite_parameters=parameters)
    return builders.outcome(
        trial,
        {"transductive": [LEVEL + gain + noise]},
        provenance=Provenance(digests=Digests(tests=tests, data="d")),
        selection="best on validation",
    )


def groups(root, *outcomes: Outcome):
    for each in outcomes:
        store.write(root, each)
    return collect(store.records(root), root)


def near_and_far(**far) -> list[Outcome]:
    crossed = {"validate": "source", "a.ways": 5, "b.ways": 5} | far
    return [
        one for seed in (0, 1)
        for one in (
            made("a", seed, 0.15, "of a", ways=5),
            made("b", seed, 0.1, "of b", ways=5),
            made("a:b", seed, 0.0, "of b", **crossed),
        )
    ]  # fmt: skip


def test_in_domain_minus_crossed_paired_on_the_tasks_of_the_target(tmp_path):
    found = groups(tmp_path, *near_and_far(), made("b", 0, 0.5, "of b", "other", ways=5))
    (gap,) = transfer.gaps(found)
    assert (gap.near.suite, gap.far.suite, gap.kind) == ("b", "a:b", "transfer")
    assert gap.gap == difference(gap.near.final, gap.far.final)
    assert (gap.gap.seeds, gap.gap.tasks) == (2, TASKS)
    assert gap.gap.mean == pytest.approx(0.1, abs=0.02)
    assert gap.gap.half < min(gap.near.score().half, gap.far.score().half)
    assert transfer.counterparts("a:b", transfer.gaps(found)) == [gap.near]
    assert transfer.counterparts("b", transfer.gaps(found)) == []


def test_other_test_tasks_are_no_pair(tmp_path):
    outcomes = [one for one in near_and_far() if one.record.trial.suite != "b"]
    found = groups(tmp_path, *outcomes, made("b", 0, 0.1, "of b with other shots", ways=5))
    assert transfer.gaps(found) == []
    assert transfer.tables(transfer.gaps(found)) == {}


def test_a_shifted_target_is_compared_with_the_plain_one(tmp_path):
    both = {"validate": "source", "a.ways": 5, "a+rotate=30.ways": 5}
    found = groups(
        tmp_path,
        made("a", 0, 0.2, "of a", ways=5),
        made("a:a+rotate=30", 0, 0.0, "turned", **both),
        made("a:a+shots=5", 0, 0.0, "more shots", **{"validate": "source", "a.ways": 5, "a+shots=5.ways": 5}),
        made("a:a+blur=1", 0, 0.0, "blurred", **{**both, "a.ways": 20}),
    )
    (gap,) = transfer.gaps(found)
    assert (gap.near.suite, gap.far.suite, gap.kind) == ("a", "a:a+rotate=30", "shift")


@pytest.mark.slow
def test_a_report_has_the_gap_as_table_figure_and_text(tmp_path):
    for each in near_and_far(validate="target"):
        store.write(tmp_path, each)
    with sketched():
        built = build_report([tmp_path], formats=("svg",))
    (row,) = built.tables["transfer"].to_dict("records")
    assert row["gap"] == pytest.approx(row["near"] - row["far"])
    assert row["selection"] == "best on validation (target)"
    assert built.files["tables/transfer.csv"].count(b"\n") == 2
    assert [name for name in built.files if "transfer" in name and "figures" in name] == ["figures/a-b-transfer.svg"]
    (shown,) = built.transfer
    for page in ("report.md", "index.html"):
        assert shown["gap"].split(" ")[0] in built.files[page].decode()


def test_cohens_d_is_in_units_of_the_spread():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 0.1, 4000), rng.normal(0.45, 0.1, 4000)
    assert cohens_d(first, second) == pytest.approx(0.5, abs=0.05)
    assert cohens_d(first, second) == -cohens_d(second, first) == pytest.approx(cohens_d(9 * first, 9 * second))
    assert np.isnan(cohens_d(np.ones(3), np.zeros(3)))


def test_calibration_stands_beside_the_score_where_it_was_measured(tmp_path):
    plain = made("a", 0, 0.0, "of a")
    store.write(tmp_path, plain)
    with sketched():
        assert "calibration" not in build_report([tmp_path], formats=("svg",)).tables
    for seed in (0, 1):
        one = made("b", seed, 0.0, "of b")
        test = one.record.tests["transductive"]
        more = {"loss": [2.0], "brier": [9.0, 0.25 + seed], "calibration_error": [0.1]}
        test = msgspec.structs.replace(test, adaptation={**test.adaptation, **more})
        store.write(
            tmp_path,
            msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, tests={"transductive": test})),
        )
    with sketched():
        (row,) = build_report([tmp_path], formats=("svg",)).tables["calibration"].to_dict("records")
    assert (row["suite"], row["brier"], row["calibration_error"], row["seeds"]) == ("b", 0.75, 0.1, 2)
