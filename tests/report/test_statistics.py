"""The statistics of a report: known values, each number again by another way, and intervals that cover."""

from __future__ import annotations

import doctest
import itertools
import math
import re
from inspect import isfunction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

from benchmarks import coverage, families
from metabench.records import store
from metabench.records.record import Outcome
from metabench.records.trials import Budget
from metabench.report import statistics
from metabench.report.analysis import findings, pairs, statistics_tables
from metabench.report.collect import configurations
from metabench.report.figures import comparisons as comparison_figures
from metabench.report.figures import encoding, style
from metabench.report.statistics import aggregates, bootstrap, comparisons, intervals, moderation, power, simultaneous
from tests import builders

ROOT = Path(__file__).parents[2]
TASKS = 80


def cells(seed: int, seeds: int = 4, tasks: int = TASKS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(seeds, 1)) + rng.normal(size=tasks) + rng.normal(size=(seeds, tasks))


def made(levels: dict[str, float], suite: str = "glyphs", seeds: int = 4, metric: str = "accuracy") -> list[Outcome]:
    """Trials of algorithms around their levels, on common tasks."""
    task = np.random.default_rng(len(suite)).normal(size=TASKS)
    found = []
    for (name, level), seed in itertools.product(levels.items(), range(seeds)):
        budget = Budget(updates=1, test_tasks=TASKS, test_steps=0)
        trial = builders.trial(name, suite, seed, budget=budget)
        own = np.random.default_rng([seed, *name.encode()])
        scores = level + 0.02 * (task + own.normal(size=TASKS) + 0.3 * own.normal())
        found.append(builders.outcome(trial, {"transductive": [scores]}, metric))
    return found


def gathered(root: Path, *outcomes: Outcome) -> tuple[configurations.Configuration, ...]:
    for each in outcomes:
        store.write(root, each)
    return configurations.collect(store.records(root), root)


@pytest.fixture
def three(tmp_path) -> tuple[configurations.Configuration, ...]:
    return gathered(tmp_path, *made({"a": 0.50, "b": 0.502, "c": 0.70}))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("tasks", [20, 600])
def test_intervals_cover_the_truth(seeds, tasks):
    """Nominal 95%, whatever part of the variance is the seeds'; for normal effects, within 93 to 97%."""
    found = [row["coverage"] for row in coverage.normal(2000, seeds, tasks) if row["method"] == "report"]
    assert len(found) == len(coverage.SHARES) * len(coverage.ERRORS)
    assert 93.5 <= min(found) <= max(found) <= 97


def test_intervals_cover_the_truth_of_scores_that_are_drawn():
    """The same from scores and not from mean squares; the band allows for 400 draws."""
    rng = np.random.default_rng(0)
    for seed_sd in (0.0, 0.1, 0.3):
        hits = sum(
            intervals.interval(seed_sd * rng.normal(size=(3, 1)) + rng.normal(size=60) + rng.normal(size=(3, 60)))
            .includes_zero
            for _ in range(400)
        )  # fmt: skip
        assert 0.92 <= hits / 400 <= 0.985


def test_the_page_has_the_table_that_was_measured():
    measured = pd.read_csv(ROOT / "benchmarks/results/coverage.csv")
    assert coverage.table(measured) in (ROOT / "docs/statistics.md").read_text(encoding="utf-8")


def test_an_interval_is_students_where_there_is_one_source_of_chance():
    of_seeds = np.array([1.0, 2.0, 4.0])
    found = intervals.interval(np.repeat(of_seeds[:, None], 50, axis=1))
    low, high = stats.t.interval(0.95, 2, of_seeds.mean(), stats.sem(of_seeds))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    of_tasks = np.arange(50.0) ** 2
    found = intervals.interval(np.repeat(of_tasks[None, :], 3, axis=0))
    low, high = stats.t.interval(0.95, 49, of_tasks.mean(), stats.sem(of_tasks))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_p_value_of_an_interval_is_that_of_the_t_test():
    gaps = np.array([0.3, -0.1, 0.9, 0.4])
    found = intervals.interval(np.repeat(gaps[:, None], 9, axis=1))
    assert found.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
    assert intervals.interval(cells(0)).flipped().p == pytest.approx(intervals.interval(-cells(0)).p)
    for seed in range(20):
        assert (intervals.interval(cells(seed)).p < 0.05) != intervals.interval(cells(seed)).includes_zero
    assert intervals.interval(np.zeros((3, 4))).p == 1.0
    assert intervals.interval(np.ones((3, 4))).p == 0.0


def test_neither_the_order_of_seeds_nor_of_tasks_matters():
    scores = cells(3)
    turned = scores[::-1, ::-1]
    for of in (intervals.interval, aggregates.interquartile_mean):
        before, after = of(scores), of(turned)
        assert (after.mean, after.half) == (pytest.approx(before.mean), pytest.approx(before.half))


def test_interquartile_mean_by_hand():
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 800.0]])
    assert aggregates.interquartile_mean(scores).mean == pytest.approx((3 + 4 + 5 + 6) / 4)
    wild = cells(1)
    wild[0, 0] = 1e9
    assert aggregates.interquartile_mean(wild).half < 10, "one cell in hundreds does not decide"


def test_the_interval_of_an_interquartile_mean_covers_it():
    """The middle of a symmetric law is known; heavy tails. The band allows for 300 draws."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        scores = 0.2 * rng.normal(size=(5, 1)) + rng.standard_t(3, 80) + rng.standard_t(3, (5, 80))
        hits += aggregates.interquartile_mean(scores).includes_zero
    assert 0.92 <= hits / 300 <= 0.99


def test_optimality_gap_and_profile_by_hand():
    scores = np.array([[0.2, 0.9], [0.6, 1.2]])
    assert aggregates.optimality_gap(scores, 1.0, higher_is_better=True).mean == pytest.approx((0.8 + 0.1 + 0.4) / 4)
    assert aggregates.optimality_gap(scores, 0.5, higher_is_better=False).mean == pytest.approx((0.4 + 0.1 + 0.7) / 4)
    shares = aggregates.profile(scores, np.array([0.1, 0.6, 2.0]), higher_is_better=True)
    assert [each.mean for each in shares] == [1.0, 0.75, 0.0]
    assert aggregates.profile(scores, np.array([0.6]), higher_is_better=False)[0].mean == 0.5
    assert aggregates.perfect("accuracy", higher_is_better=True) == 1.0
    assert aggregates.perfect("mse", higher_is_better=False) == 0.0
    assert aggregates.perfect("return", higher_is_better=True) is None


def test_a_seed_by_itself_has_students_interval_over_its_tasks():
    scores = cells(2)
    for seed, found in aggregates.within_seeds(dict(enumerate(scores))).items():
        low, high = stats.t.interval(0.95, TASKS - 1, scores[seed].mean(), stats.sem(scores[seed]))
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_holm_by_hand():
    assert comparisons.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparisons.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert comparisons.holm([]) == []


@pytest.mark.parametrize("law", families.LAWS)
def test_intervals_of_all_pairs_and_behind_the_best_hold_all_at_once(law):
    """Whatever the seeds' variances are, and whoever is best; the band allows for 500 draws."""
    found = pd.DataFrame(families.family(law, 3, 6, 0.9, draws=500)).set_index("method")
    assert found.loc["report", ["pairs", *families.MEANS]].min() >= 93
    assert found.loc["report", "width"] < found.loc["alone", "width"], "and are narrower than each by itself"


def test_the_page_has_the_table_of_families():
    measured = pd.read_csv(ROOT / "benchmarks/results/families.csv")
    report = measured[measured["method"] == "report"]
    assert report[["pairs", *families.MEANS]].min(axis=None) >= 92, "of 1,000 draws a design"
    assert families.table(measured) in (ROOT / "docs/statistics.md").read_text(encoding="utf-8")


def marginal(log_degrees: float, log_variance: float, variances: np.ndarray, own: int) -> float:
    """Minus the log likelihood of variances under Smyth's prior: each over its scale follows an F law."""
    degrees, variance = np.exp([log_degrees, log_variance])
    return -float((stats.f.logpdf(variances / variance, own, degrees) - log_variance).sum())


def test_the_prior_of_many_variances_is_the_one_they_were_drawn_from():
    """Found again, and near the one of greatest likelihood, which is another way to it."""
    rng, own = np.random.default_rng(3), 3
    true = 4.0 * 6 / rng.chisquare(6, 4000)
    variances = true * rng.chisquare(own, 4000) / own
    found = moderation.shared_prior(variances, np.full(4000, own), 4000)
    assert (found.degrees, found.variance) == (pytest.approx(6, rel=0.15), pytest.approx(4.0, rel=0.05))
    best = minimize(lambda at: marginal(*at, variances, own), (0.0, 0.0), method="Nelder-Mead").x
    assert (found.degrees, found.variance) == tuple(pytest.approx(np.exp(each), rel=0.15) for each in best)


def test_the_fewer_algorithms_the_less_is_shared():
    variances, own = np.exp(np.random.default_rng(0).normal(0, 1.2, 28)), np.full(28, 2)
    known = [moderation.shared_prior(variances, own, count).degrees for count in (3, 5, 8, 28)]
    assert known == sorted(known)
    assert moderation.shared_prior(variances, own, 2) == moderation.NO_PRIOR
    assert moderation.shared_prior(np.zeros(3), np.full(3, 2), 3) == moderation.NO_PRIOR
    wild = np.where(np.arange(28) < 7, 1e4, 1.0) * variances
    assert moderation.shared_prior(wild, own, 8).degrees < 0.5, "one diverged: hardly anything is shared"


def test_a_wild_algorithm_does_not_hide_who_is_behind():
    """It may be the best itself; those that another beats are behind nonetheless."""
    levels = {0: 0.0, 1: -1.0, 2: -1.1, 3: -0.3}
    scores = [dict(enumerate(level + 0.02 * cells(at, 3))) for at, level in levels.items()]
    scores[3] = {seed: values + (seed - 1) for seed, values in scores[3].items()}
    found = simultaneous.behind_best(scores, higher_is_better=True)
    assert [each.separated for each in found] == [False, True, True, False]


def test_a_verdict_is_what_its_interval_says():
    """Not separated is whose interval includes 0, which is where its p is 0.05 or more."""
    rng, verdicts = np.random.default_rng(2), set()
    for spread in (0.2, 0.6, 1.5):
        for sign in (1, -1):
            levels = sign * spread * rng.normal(size=7)
            scores = [dict(enumerate(level + 0.2 * cells(seed))) for seed, level in enumerate(levels)]
            for found in simultaneous.behind_best(scores, higher_is_better=sign > 0):
                assert found.separated == (found.p < simultaneous.ALPHA)
                assert found.separated != (found.low <= 0 <= found.high)
                assert 0 in (sign * found.high, sign * found.low) or found.separated
                assert (found.high if sign > 0 else -found.low) <= 0, "none is better than the best"
                assert found.low <= found.mean <= found.high or not found.separated
                verdicts.add(found.separated)
    assert verdicts == {True, False}


def test_with_one_rival_it_is_the_paired_interval():
    one, other = cells(0), cells(0) - 1 - 0.1 * cells(1)
    best, found = simultaneous.behind_best([dict(enumerate(one)), dict(enumerate(other))], higher_is_better=True)
    alone = intervals.interval(other - one)
    assert (found.mean, found.low, found.high, found.p) == pytest.approx((alone.mean, alone.low, alone.high, alone.p))
    assert best.high == 0


def test_a_corrected_interval_is_that_of_its_level():
    alone = intervals.interval(cells(4))
    assert simultaneous.corrected(alone, 1) == alone
    assert simultaneous.corrected(alone, 10).half == pytest.approx(intervals.interval(cells(4), 0.95**0.1).half)
    for count in (1, 3, 40):
        assert simultaneous.corrected_p(alone.at(0.95 ** (1 / count)).p, count) == pytest.approx(
            1 - (1 - alone.p) ** count
        )


def test_pairs_are_judged_on_common_seeds_and_tasks(three):
    (members,) = pairs.comparison_groups(three).values()
    assert [group.algorithm for group in members] == ["c", "b", "a"] or members[0].algorithm == "c"
    judged = pairs.all_pairs(members)
    assert [pair.significant for pair in judged] == [True, True, False]
    for pair in judged:
        assert pair.significant == (pair.adjusted < simultaneous.ALPHA)
        first, second = (np.stack(list(group.final.values())) for group in (pair.first, pair.second))
        assert pair.difference.mean == pytest.approx((first - second).mean())
        assert pair.better.mean == pytest.approx((first > second).mean() + (first == second).mean() / 2)
        assert (pair.difference.mean >= 0) == pair.first.higher_is_better
    best, *others = pairs.to_best(members)
    assert (best.mean, best.low, best.high, best.p) == (0, 0, 0, 1)
    assert [found.mean for found in others] == pytest.approx([-pair.difference.mean for pair in judged[:2]])


def test_lower_is_better_is_turned_round(tmp_path):
    found = gathered(tmp_path, *made({"a": 0.5, "c": 0.7}, metric="mse"))
    (members,) = pairs.comparison_groups(found).values()
    (pair,) = pairs.all_pairs(members)
    assert pair.first.algorithm == "a"
    assert pair.difference.mean < 0
    assert pair.better.mean > 0.9
    assert (pair.difference.mean >= 0) == pair.first.higher_is_better
    assert pairs.over_tasks(members).names == ("a", "c")


def test_ranks_friedman_and_nemenyi(three):
    gains = np.random.default_rng(0).normal(size=(12, 4)) + np.arange(4)
    found = comparisons.ranking(list("abcd"), gains)
    assert found.names == ("d", "c", "b", "a")
    assert sum(found.ranks) == pytest.approx(4 * 5 / 2)
    assert found.p == pytest.approx(stats.friedmanchisquare(*gains.T).pvalue)
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 12)), rel=1e-3), "Demsar 2006, table 5"
    ties = comparisons.ranking(["a", "b"], np.ones((5, 2)))
    assert ties.ranks == (1.5, 1.5)
    assert math.isnan(ties.p)


def test_groups_in_a_diagram_are_the_longest_runs_without_a_difference():
    apart = {frozenset(pair) for pair in ("ac", "ad", "bd")}
    assert pairs.runs("abcd", apart) == [(0, 1), (1, 2), (2, 3)]
    assert pairs.runs("abcd", set()) == [(0, 3)]
    assert pairs.runs("ab", {frozenset("ab")}) == []


def test_suites_are_compared_only_where_there_are_enough(tmp_path):
    levels = {"a": 0.5, "b": 0.6, "c": 0.7}
    assert pairs.over_suites(gathered(tmp_path, *made(levels, "s"))) is None
    assert findings.across(gathered(tmp_path)) == []
    two = findings.across(gathered(tmp_path, *made(levels, "ss")))
    assert two[0] == "Average rank over 2 suites: c 1.00, b 2.00, a 3.00."
    assert "at least 6 suites are needed" in two[1]
    many = [each for count in range(3, 10) for each in made(levels, "s" * count, seeds=2)]
    nine = findings.across(gathered(tmp_path, *many))
    assert nine[1] == (
        "Significantly different by Wilcoxon's signed ranks with Holm's correction: "
        "a and b (p = 0.012), a and c (p = 0.012) and b and c (p = 0.012)."
    )


def test_signed_ranks_are_scipys():
    gains = np.random.default_rng(4).normal(size=(9, 3))
    found = comparisons.signed_ranks(list("abc"), gains)
    plain = [stats.wilcoxon(gains[:, a], gains[:, b]).pvalue for a, b in ((0, 1), (0, 2), (1, 2))]
    assert list(found.values()) == pytest.approx(comparisons.holm(plain))


def test_components_of_variance_are_found_again():
    rng = np.random.default_rng(0)
    scores = 0.5 * rng.normal(size=(400, 1)) + 2 * rng.normal(size=400) + rng.normal(size=(400, 400))
    found = power.components(scores)
    assert (found.seed, found.task, found.error) == pytest.approx((0.25, 4, 1), rel=0.2)
    assert power.components(scores[:1]) is None


def test_what_is_detectable_is_detected_eight_times_in_ten():
    parts = power.Components(seed=0.01, task=0.5, error=1.0)
    gap = power.detectable(parts, 8, 100)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        noise = 0.1 * rng.normal(size=(8, 1)) + 0.5**0.5 * rng.normal(size=100) + rng.normal(size=(8, 100))
        hits += intervals.interval(gap + noise).p < 0.05
    assert 0.72 <= hits / 400 <= 0.88


def test_the_seeds_and_tasks_that_are_needed_are_the_fewest():
    parts = power.Components(seed=0.01, task=0.5, error=1.0)
    seeds = power.seeds_needed(parts, 0.2, 600)
    assert power.detectable(parts, seeds, 600) <= 0.2 < power.detectable(parts, seeds - 1, 600)
    tasks = power.tasks_needed(parts, 0.4, 5)
    assert power.detectable(parts, 5, tasks) <= 0.4 < power.detectable(parts, 5, tasks - 1)
    assert power.tasks_needed(parts, 0.05, 3) is None, "the seeds alone vary too much"
    assert power.seeds_needed(parts, 0.001, 600) is None


def test_findings_say_who_leads_and_what_it_would_take(three, tmp_path):
    (first,), rows, basis = findings.findings(three)
    assert re.fullmatch(
        r"c \(7\S+ ± \S+%\) is significantly better than every other; next is [ab], −\S+ \[.*\] points\.", first
    )
    assert rows == ()
    assert re.fullmatch(r"Between seeds a difference has 3 degrees of freedom .* \S+ that all pairs share .*", *basis)
    close = gathered(tmp_path / "close", *made({"a": 0.50, "b": 0.5001, "c": 0.2}))
    (first,), (row,), _ = findings.findings(close)
    best, other = ("a", "b") if first.startswith("a") else ("b", "a")
    assert first.startswith(f"{best} (")
    assert first.endswith(f"%) has the best mean; {other} is not separated from it, the others are.")
    assert row["algorithm"] == other
    assert row["would take"].endswith(" seeds, or more than 10,000 tasks")


def test_of_two_that_are_alike_neither_is_called_separated(tmp_path):
    alike = findings.findings(gathered(tmp_path, *made({"a": 0.5, "c": 0.5001}))).found
    assert re.search(r"has the best mean; [ac] is not separated from it\.", alike[0])


def test_findings_warn_of_too_few_seeds(tmp_path):
    alone = findings.findings(gathered(tmp_path / "one", *made({"a": 0.5, "c": 0.7}, seeds=1))).found
    assert "%) is significantly better than a, −" in alone[0]
    assert alone[1] == "1 seed cannot show how training differs from seed to seed: 3 are needed, 5 are better."
    two = findings.findings(gathered(tmp_path / "two", *made({"a": 0.5, "c": 0.7}, seeds=2))).found
    assert two[1].startswith("2 seeds hardly show how training differs")
    assert findings.findings(gathered(tmp_path / "lone", *made({"a": 0.5}))) == ((), (), ())


def test_a_bootstrap_has_its_own_generator():
    scores = cells(7)
    before = bootstrap.over_tasks(scores, ("a", "b"))
    np.random.default_rng(0).normal()
    assert bootstrap.over_tasks(scores, ("a", "b")) == before
    assert bootstrap.over_tasks(scores, ("ab",)) != before
    of_task = scores.mean(0)
    plain = stats.norm.interval(0.95, of_task.mean(), stats.sem(of_task))
    assert before == pytest.approx(plain, abs=0.1 * stats.sem(of_task) * 2)


def test_the_tables_are_the_same_twice(three):
    first, again = (
        {name: frame.to_csv() for name, frame in statistics_tables.tables(each).items()}
        for each in (three, three[::-1])
    )
    assert set(first) == {"seeds", "aggregates", "pairs", "ranks"}
    assert first["pairs"] == again["pairs"]
    assert first["ranks"] == again["ranks"]
    assert statistics_tables.tables([]) == {}


@pytest.mark.parametrize("kind", comparison_figures.KINDS, ids=lambda kind: kind.name)
def test_figures_are_the_same_twice_and_none_without_a_comparison(kind, three, tmp_path):
    looks = style.looks(group.algorithm for group in three)
    drawn = []
    for _ in range(2):
        with style.drawing("x"):
            figure, words = kind.draw(three, looks)
            drawn.append((encoding.encoded(figure, "svg"), words))
    assert drawn[0] == drawn[1]
    assert all(name in drawn[0][1] for name in ("a", "b", "c"))
    with style.drawing("x"):
        alone = kind.draw(gathered(tmp_path / "lone", *made({"a": 0.5})), looks)
    assert (alone is None) == (kind.name != "profiles")


MODULES = (statistics, aggregates, bootstrap, comparisons, intervals, moderation, power, simultaneous)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_right(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_what_is_public_takes_arrays_and_has_an_example():
    functions = [each for name in statistics.__all__ if isfunction(each := getattr(statistics, name))]
    assert len(functions) > 10
    assert [each.__name__ for each in functions if ">>>" not in (each.__doc__ or "")] == []
