"""Two experiments: what changed, what is noise, what cannot be compared; and several as one."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest

from metabench.errors import UserError
from metabench.records import store
from metabench.records.provenance import Provenance
from metabench.records.record import Outcome
from metabench.records.trials import Budget
from metabench.report import formatting
from metabench.report.collect.configurations import Configuration
from metabench.report.collect.labels import labels
from metabench.report.collect.merge import merge
from metabench.report.collect.provenance import mixtures
from metabench.report.compare import rows
from metabench.report.compare.matching import BeforeAfter
from metabench.report.compare.verdicts import Change, Comparison, compare, verdicts
from tests import builders
from tests.sketches import sketched

PROVENANCE = {
    "metabench": "1.0", "git": "aaa", "torch": "2.9", "cpu": "slow", "device": "cpu", "threads": 1,
    "plugins": {"algorithm": "p 1.0 (a)", "suite": "p 1.0 (s)"},
}  # fmt: skip
TASKS = 60


def outcome(level: float, seed: int = 0, noise: int = 0, **changes) -> Outcome:
    """A made-up record; `noise` is drawn apart for each number, and the tasks' own part is common to all."""
    facts = {**PROVENANCE, **changes.pop("provenance", {})}
    metric = changes.pop("metric", "accuracy")
    seconds = changes.pop("train_seconds", 10.0)
    usual = {
        "algorithm_parameters": {"inner_lr": 0.1},
        "suite_parameters": {"ways": 5},
        "budget": Budget(updates=100, test_tasks=TASKS, test_steps=1),
    }
    trial = builders.trial(seed=seed, **usual | changes)
    tasks = np.random.default_rng(7).normal(0, 0.05, trial.budget.test_tasks)
    values = level + tasks + np.random.default_rng([seed, noise]).normal(0, 0.02, trial.budget.test_tasks)
    steps = [values.tolist()] * (trial.budget.test_steps + 1)
    curve = builders.points({u: level * (1 + u / 100) for u in (0, 50, 100)}, 0.1)
    return builders.outcome(
        trial,
        {"transductive": steps},
        metric,
        curve=curve,
        selection="last",
        train_seconds=seconds,
        provenance=msgspec.convert(facts, Provenance),
    )


def failed(like: Outcome, status: str = "diverged") -> Outcome:
    record = like.record
    return builders.failure(record.trial, status, provenance=record.provenance)


def folder(path: Path, *outcomes: Outcome) -> Path:
    for each in outcomes:
        store.write(path, each)
    return path


@pytest.fixture
def compared(tmp_path):
    """`compared([before], [after])` of outcomes."""

    def call(before: list[Outcome], after: list[Outcome]) -> Comparison:
        sides = [merge([folder(tmp_path / name, *each)]) for name, each in (("A", before), ("B", after))]
        return compare(*sides)

    return call


def only(found: Comparison) -> Change:
    (change,) = found.changes
    return change


@pytest.mark.parametrize(("rise", "verdict"), [(0.05, "improved"), (-0.05, "worse"), (0.0, "noise")])
@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_the_verdict_follows_the_difference_and_the_metric(compared, rise, verdict, metric):
    before = [outcome(0.5, seed, 1, metric=metric) for seed in range(3)]
    after = [outcome(0.5 + rise, seed, 3, metric=metric) for seed in range(3)]
    change = only(compared(before, after))
    if metric == "mse":
        verdict = {"improved": "worse", "worse": "improved"}.get(verdict, verdict)
    assert change.verdict == verdict
    cells = [np.array(b.scores["transductive"][metric][-1]) for b in after]
    old = [np.array(b.scores["transductive"][metric][-1]) for b in before]
    assert change.difference.mean == pytest.approx(np.mean(cells) - np.mean(old))
    assert change.difference.seeds == 3
    assert change.time_ratio == pytest.approx(1.0)
    assert (change.p < 0.05) == (verdict != "noise")


def test_the_same_bits_are_the_same(compared):
    both = [outcome(0.5, seed) for seed in range(2)]
    found = compared(both, both)
    assert only(found).verdict == "same"
    assert found.notes == ()
    assert not found.worse


def test_a_change_that_does_nothing_is_noise_however_many_are_compared():
    """One by one, a third of these 100 comparisons of 8 algorithms would find something."""
    rng = np.random.default_rng(0)
    records = {name: outcome(0.5, algorithm=name).record for name in (f"a{number}" for number in range(8))}
    names = labels(records.values())
    alarms = 0
    for _ in range(100):
        tasks = rng.normal(0, 0.1, TASKS)
        sides = [
            Configuration(
                "s", name, "transductive", (record,), {s: [tasks + rng.normal(0, 0.05, TASKS)] for s in range(4)}
            )
            for name, record in records.items()
            for _ in range(2)
        ]
        couples = [BeforeAfter(before, after) for before, after in zip(sides[::2], sides[1::2])]
        alarms += any(change.verdict != "noise" for change in verdicts(couples, names))
    assert alarms <= 11


def test_trials_are_paired_by_settings_and_common_seeds(compared):
    def of(rate: float, level: float, seeds, noise: int) -> list[Outcome]:
        return [outcome(level, seed, noise, algorithm_parameters={"inner_lr": rate}) for seed in seeds]

    before = of(0.1, 0.5, (0, 1, 2), 1) + of(0.2, 0.6, (0, 1), 2)
    after = of(0.1, 0.6, (1, 2, 3), 3) + of(0.2, 0.6, (0, 1), 4)
    first, second = compared(before, after).changes
    assert (first.algorithm, first.verdict, first.difference.seeds) == ("a (inner_lr=0.1)", "improved", 2)
    assert (second.algorithm, second.verdict, second.difference.seeds) == ("a (inner_lr=0.2)", "noise", 2)


def test_a_changed_setting_is_paired_and_told(compared):
    before = [outcome(0.5, seed, 1) for seed in range(2)]
    changed = {"algorithm_parameters": {"inner_lr": 0.2, "new": True}, "budget": Budget(updates=200, test_steps=1)}
    after = [outcome(0.5, seed, 2, **changed) for seed in range(2)]
    change = only(compared(before, after))
    assert change.verdict == "noise"
    assert set(change.changed) == {
        "updates 100 → 200", "test_tasks 60 → 600", "inner_lr 0.1 → 0.2", "new none → true",
    }  # fmt: skip
    assert change.difference.tasks == 60


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"suite_parameters": {"ways": 20}}, "other test tasks"),
        (
            {"budget": Budget(updates=100, test_tasks=TASKS, test_steps=2)},
            "scored after other numbers of inner steps",
        ),
        ({"seed": 5}, "no seed in common"),
        ({"algorithm": "b"}, "only before"),
        ({"metric": "mse"}, "accuracy before, mse after"),
    ],
)
def test_what_cannot_be_compared_says_why(compared, changes, why):
    found = compared([outcome(0.5)], [outcome(0.4, **{"seed": 0, **changes})])
    assert found.changes[0].verdict == "not comparable"
    assert found.changes[0].why == why
    assert found.changes[0].difference is None
    assert not found.worse


def test_a_trial_that_no_longer_ends_well_is_worse(compared):
    both = [outcome(0.5, seed) for seed in range(3)]
    found = compared(both, [*both[:2], failed(both[2])])
    assert found.worse
    assert only(found).why == "seed 2 was ok before, and now: diverged"
    assert only(found).difference.seeds == 2


def test_a_configuration_of_which_nothing_is_left_is_worse_too(compared):
    change = only(compared([outcome(0.5)], [failed(outcome(0.5), "error")]))
    assert (change.verdict, change.difference) == ("worse", None)
    assert change.why == "seed 0 was ok before, and now: error"


def test_other_machines_and_versions_are_told_and_their_times_not_compared(compared):
    before = [outcome(0.5, seed, 1) for seed in range(2)]
    facts = {"cpu": "fast", "git": "bbb", "torch": "2.12", "plugins": {"algorithm": "p 1.0 (a)", "suite": "p 2 (s)"}}
    found = compared(before, [outcome(0.5, seed, 2, provenance=facts, train_seconds=5.0) for seed in range(2)])
    assert only(found).time_ratio is None
    assert found.notes == (
        "git commit: aaa before, bbb after.",
        "the suite's plugin: p 1.0 (s) before, p 2 (s) after. The test tasks may not be the same ones.",
        "torch: 2.9 before, 2.12 after. Scores may differ for that reason alone. Times are not comparable.",
        "processor: slow before, fast after. Times are not comparable.",
    )
    faster = compared(
        before, [outcome(0.5, seed, 2, provenance={"git": "bbb"}, train_seconds=5.0) for seed in (0, 1)]
    )
    assert faster.changes[0].time_ratio == pytest.approx(0.5)


def test_one_seed_says_so(compared):
    found = compared([outcome(0.5, 0, 1)], [outcome(0.5, 0, 2)])
    assert any(note.startswith("1 seed: the interval is over tasks only") for note in rows.notes(found))


def test_the_command_line(here, tmp_path):
    folder(tmp_path / "A", *(outcome(0.5, seed, 1) for seed in range(3)))
    folder(tmp_path / "B", *(outcome(0.4, seed, 2) for seed in range(3)))
    seen = here("compare", "A", "B", "--out", "c.md")
    assert not seen.returncode, seen.stderr
    assert "1 worse." in seen.stdout
    assert "Comparison: c.md" in seen.stdout
    text = (tmp_path / "c.md").read_text(encoding="utf-8")
    assert text.startswith("1 worse.\n\n| suite | algorithm | before |")
    assert "▁" in text
    assert here("compare", "A", "B", "--out", "c.csv", "--fail-if-worse").returncode == 1
    with (tmp_path / "c.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["verdict"], row["seeds"], row["tasks"]) == ("worse", "3", "60")
    assert float(row["difference"]) == pytest.approx(-0.1, abs=0.01)
    assert not here("compare", "B", "A", "--fail-if-worse").returncode
    refused = here("compare", "A", "B", "--out", "c.txt")
    assert refused.stderr.startswith("metabench: Cannot write the comparison to 'c.txt': its name must end in .md")
    assert here("compare", "A", "none").stderr.startswith("metabench: There is no results folder 'none'.")


def test_merged_folders_are_one_with_each_trial_once(tmp_path):
    one, two, three = (outcome(0.5, seed) for seed in range(3))
    other = outcome(0.7, 1)
    found = merge([folder(tmp_path / "A", one, two), folder(tmp_path / "B", one, other, three), tmp_path / "A"])
    assert [record.trial.seed for record in found.records] == [0, 1, 2]
    assert {record.trial.seed: found.roots[record.trial.id].name for record in found.records} == {
        0: "A",
        1: "A",
        2: "B",
    }
    assert found.name == "A+B"
    (note,) = found.notes
    assert note == (
        f"1 trial is in '{tmp_path}/A' and in '{tmp_path}/B', whose scores differ ({two.record.trial.id}): "
        f"that of '{tmp_path}/A' was taken."
    )


def test_of_two_records_the_one_that_ended_well_is_taken(tmp_path):
    good = outcome(0.5)
    found = merge([folder(tmp_path / "A", failed(good)), folder(tmp_path / "B", good)])
    assert found.records[0].status == "ok"
    assert found.roots[good.record.trial.id] == tmp_path / "B"
    assert "of which one failed" in found.notes[0]


def test_scores_without_checksums_are_compared_too(tmp_path):
    good = outcome(0.5)
    for name in ("A", "B"):
        place = folder(tmp_path / name, good) / good.record.trial.id / "record.json"
        record = msgspec.structs.replace(store.decode(place.read_bytes(), place), scores_sha256="", checksum="")
        place.write_bytes(store.seal(record))
    assert merge([tmp_path / "A", tmp_path / "B"]).notes == ()


def test_mixtures_are_plain_sentences():
    alike = [outcome(0.5, seed).record for seed in range(3)]
    assert mixtures(alike) == []
    other = outcome(0.5, 3, provenance={"cpu": "fast", "plugins": {"algorithm": "p 2 (a)", "suite": "p 1.0 (s)"}})
    beside = outcome(0.5, 0, algorithm="b", provenance={"plugins": {"algorithm": "p 1.0 (b)", "suite": "p 1.0 (s)"}})
    assert mixtures([*alike, other.record, beside.record]) == [
        "a on s: the algorithm's plugin differs: p 1.0 (a) (seed 0, seed 1, seed 2), p 2 (a) (seed 3). "
        "Scores may differ for that reason alone.",
        "s: processor differs: fast (a), slow (a, b). Times are not comparable.",
    ]
    assert mixtures([builders.record(outcome(0.5).record.trial, "lost"), *alike[1:]]) == []


def test_the_report_of_several_folders(here, tmp_path):
    folder(tmp_path / "A", outcome(0.5))
    folder(tmp_path / "B", outcome(0.5, 1, provenance={"torch": "2.12"}))
    with sketched():
        seen = here("report", "A", "B", "--formats", "svg")
    assert not seen.returncode, seen.stderr
    note, place = seen.stdout.splitlines()
    assert note.startswith("Note: s: torch differs: 2.12 (a), 2.9 (a). Scores may differ for that reason alone.")
    assert place == "Report: reports/A+B/index.html"
    with (tmp_path / "reports/A+B/tables/summary.csv").open(encoding="utf-8") as file:
        assert [(row["seeds"], row["ok"]) for row in csv.DictReader(file)] == [("2", "2")]


def test_nothing_in_any_folder(tmp_path):
    (tmp_path / "A").mkdir()
    from metabench.report.build import build_report

    with pytest.raises(UserError, match=r"^There is no finished trial in '.*A' or '.*A'\. `metabench run --out"):
        build_report([tmp_path / "A", tmp_path / "A"])


def test_sparklines():
    assert formatting.sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert formatting.sparkline([3, 3]) == "▄▄"
    assert formatting.sparkline([]) == formatting.sparkline([float("nan")]) == ""
    long = formatting.sparkline(range(1000))
    assert len(long) == formatting.MAX_BARS
    assert long[-1] == "█"
    assert formatting.sparkline([1.0], 0.0, 1.0) == "█"
