"""The card of a suite: what a reader must know before believing it; and how algorithms look."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from metabench.records import store
from metabench.records.provenance import Defaults, Provenance
from metabench.records.record import Outcome
from metabench.records.trials import Budget
from metabench.report.analysis import cards
from metabench.report.analysis.findings import findings
from metabench.report.collect import configurations
from metabench.report.collect.provenance import busy, provenance
from metabench.report.figures import style
from tests import builders

ROOT = Path(__file__).parents[2]
QUICK = (
    "maml fomaml reptile anil finetune scratch metasgd protomaml r2d2 protonet metacurvature tnet imaml boil cavia"
).split()


def made(name: str, steps: list[float], curve: list[float], batch: int = 16, seed: int = 0, **changes) -> Outcome:
    """A trial with these scores after 0, 1 ... inner steps, on all tasks alike but for a little."""
    budget = Budget(updates=10 * (len(curve) - 1), meta_batch_size=batch, test_tasks=9, test_steps=len(steps) - 1)
    of = builders.trial(
        name, "toys", seed, budget=budget, algorithm_parameters={"inner_lr": changes.pop("rate", 0.1)}
    )
    cells = [[level + 0.001 * task * (at + 1) for task in range(9)] for at, level in enumerate(steps)]
    best = 10 * max(range(len(curve)), key=curve.__getitem__)
    points = builders.points({10 * at: value for at, value in enumerate(curve)}, 0.1)
    return builders.outcome(
        of, {"transductive": cells}, curve=points, selection="best", selected_update=best, **changes
    )


def cautions(root: Path, *outcomes: Outcome) -> tuple[str, ...]:
    for each in outcomes:
        store.write(root, each)
    return card_of(root).cautions


def card_of(root: Path) -> cards.Card:
    groups = configurations.collect(store.records(root), root)
    return cards.card(groups, findings(groups))


def test_there_is_nothing_to_say_where_all_is_well(tmp_path):
    assert cautions(tmp_path, *(made(n, [0.2, 0.5], [0.2, 0.4, 0.5]) for n in ("a", "b"))) == ()


def test_who_saw_fewer_tasks_is_said(tmp_path):
    found = cautions(tmp_path, made("a", [0.2, 0.5], [0.2, 0.5]), made("b", [0.2, 0.5], [0.2, 0.5], batch=5))
    assert found == ("b saw 5/16 of the tasks.",)


def test_adaptation_that_makes_it_worse_is_said(tmp_path):
    assert cautions(tmp_path, made("a", [0.6, 0.3], [0.2, 0.5])) == ("Adaptation makes a worse.",)


def test_validation_that_falls_is_said(tmp_path):
    found = cautions(tmp_path, made("a", [0.2, 0.5], [0.2, 0.8, 0.3]), made("b", [0.2, 0.5], [0.2, 0.5, 0.5]))
    assert found == ("Validation falls after the selected update: a.",)


def test_another_inner_rate_explains_other_scores_before_training(tmp_path):
    found = cautions(tmp_path, made("a", [0.2, 0.5], [0.2, 0.5]), made("b", [0.2, 0.5], [0.3, 0.5], rate=0.4))
    assert found == ("Scores before training differ, as inner_lr does: 0.1, 0.4.",)


def test_an_algorithm_looks_the_same_in_every_report():
    names = QUICK
    every = style.looks(names)
    assert len({(look.color, look.marker) for look in every.values()}) == len(names)
    for name in names:
        assert (style.looks([name])[name].color, style.looks([name])[name].marker) == (
            every[name].color,
            every[name].marker,
        )
    variants = style.looks(["maml (inner_lr=0.1)", "maml (inner_lr=0.2)"]).values()
    assert len({look.color for look in variants}) == 1
    assert len({look.marker for look in variants}) == 2


@pytest.mark.parametrize(
    "summary", sorted(ROOT.glob("reports/*/tables/summary.csv")), ids=lambda path: path.parts[-3]
)
def test_algorithms_of_a_committed_report_share_no_color(summary):
    names = {name.partition(" (")[0] for name in pd.read_csv(summary)["algorithm"]}
    assert len({look.color for look in style.looks(names).values()}) == len(names)


def test_a_card_says_of_the_suite_what_is_not_its_default(tmp_path):
    usual = Provenance(defaults=Defaults(suite=("shots", "model", "noise")))
    parameters = {"ways": 5, "shots": 1, "model": "conv", "noise": 0.1, "filters": 16}
    of = builders.trial("a", "toys", suite_parameters=parameters, budget=Budget(updates=7, test_tasks=2))
    store.write(tmp_path, builders.outcome(of, {"transductive": [[0.1, 0.2]]}, provenance=usual))
    task = card_of(tmp_path).task
    assert task == "5-way 1-shot, model=conv, filters=16, 7 updates of 16 tasks, 2 test tasks"


def test_a_card_says_once_what_crossed_suites_have_in_common(tmp_path):
    parameters = {"a.ways": 5, "a.queries": 3, "a.model": "conv", "b.ways": 5, "b.queries": 4, "b.model": "conv"}
    of = builders.trial("x", "a:b", suite_parameters=parameters, budget=Budget(updates=7, test_tasks=2))
    store.write(tmp_path, builders.outcome(of, {"transductive": [[0.1, 0.2]]}))
    assert card_of(tmp_path).task.startswith("5-way, model=conv, a.queries=3, b.queries=4, 7 updates")


@pytest.mark.parametrize(
    ("others", "said"), [("b", "10 to 20 updates of 5 to 16 tasks"), ("bc", "10 updates of 16 tasks")]
)
def test_the_budget_is_that_of_most_or_from_the_least_to_the_greatest(tmp_path, others, said):
    store.write(tmp_path, made("a", [0.2, 0.5], [0.2, 0.4, 0.5], batch=5))
    for name in others:
        store.write(tmp_path, made(name, [0.2, 0.5], [0.2, 0.5]))
    assert f", {said}, " in f", {card_of(tmp_path).task}"


@pytest.mark.parametrize(("load", "cores", "said"), [((0.2, 9.0), 2, True), ((0.2, 2.1), 2, False), (None, 2, False)])
def test_trials_beside_other_work_are_said(load, cores, said):
    records = [builders.record(builders.trial(), provenance=Provenance(load=load, cores=cores))]
    found = busy(records)
    assert found == (["1 of 1 trial ran on a busy machine (load up to 9 on 2 cores): times may be too long."] * said)
    assert ("load" in {row["field"] for row in provenance(records)}) == (load is not None)
    records.append(builders.record(builders.trial(seed=1), provenance=Provenance(cores=2)))
    assert all(
        sentence.startswith("1 of 1 trial whose load is known ran on a busy machine") for sentence in busy(records)
    )
