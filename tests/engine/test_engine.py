"""A trial from its seed to its record: fair, repeatable, and honest about what went wrong."""

from __future__ import annotations

import weakref

import torch
from torch import nn

from metabench.api import Algorithm, Batch, InnerLoop, NotApplicableError, Suite, Task
from metabench.api.trees import flatten
from metabench.engine import evaluate
from metabench.engine.digests import A_FEW
from metabench.engine.problem import inductive
from metabench.engine.run import run_trial
from metabench.engine.tasks import task_blocks
from metabench.records.provenance import PluginOrigins
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Entry, Plugin, Registry
from metabench.registry.parameters import signature_of
from metabench.testing.toy_suites import clouds, lines
from tests import builders

BUDGET = Budget(updates=6, meta_batch_size=4, validations=2, validation_tasks=10, test_tasks=60, test_steps=2)


def recorder(problem, *, inner_lr: float = 0.1, seen: str = ""):
    """An algorithm that remembers, in a list, what it was given."""
    SEEN.append(problem.init())

    def objective(meta, task, progress):
        return problem.loss(meta, task.query)

    def step(meta, fast, support, i):
        return {name: weight * (1 - inner_lr) for name, weight in fast.items()}

    inner = InnerLoop(lambda meta, s: meta, step, lambda m, f, x: problem.apply(f, x))
    return Algorithm(problem.init, inner, objective)


def exploding(problem, *, inner_lr: float = 0.1):
    """Loses its mind at the third update."""

    def objective(meta, task, progress):
        return problem.loss(meta, task.query) * (float("nan") if progress > 0.4 else 1.0)

    return recorder(problem)._replace(objective=objective)


def raising(problem, *, inner_lr: float = 0.1):
    """Has a bug."""

    def objective(meta, task, progress):
        raise RuntimeError("a bug\nover two lines")

    return recorder(problem)._replace(objective=objective)


def picky(problem, *, inner_lr: float = 0.1):
    """Is for classes alone."""
    if problem.ways is None:
        raise NotApplicableError("it is for classes")
    return recorder(problem)


SEEN: list = []


def toys(**more) -> Registry:
    """A registry of the toys and of the algorithms above."""
    algorithms = {"recorder": recorder, "exploding": exploding, "raising": raising, "picky": picky}
    suites = {"lines": lambda: lines(), "clouds": lambda: clouds(), **more}
    return Registry(
        {n: Entry("algorithm", n, f, signature_of(f, 1), "toys") for n, f in algorithms.items()},
        {n: Entry("suite", n, f, {}, "toys") for n, f in suites.items()},
        (Plugin("toys", "here", "1"),),
    )


def run(algorithm="recorder", suite="lines", seed=0, registry=None, budget=BUDGET, **fields):
    trial = builders.trial(algorithm, suite, seed, budget=budget, **fields)
    return run_trial(trial, Execution(), lambda sign: None, registry or toys())


def test_record_of_a_trial():
    outcome = run()
    record = outcome.record
    assert (record.status, record.reason, record.metric, record.strategy) == ("ok", "", "mse", "vectorised")
    assert [point.update for point in record.curve] == [0, 3, 6]
    assert record.curve[0].train_loss is None
    assert record.curve[1].train_loss is not None
    assert record.selection == "best on validation"
    assert record.selected_update in (0, 3, 6)
    assert record.train_seconds > 0
    assert record.adapt_ms > 0
    assert record.peak_memory_mb > 10
    assert record.provenance.plugins == PluginOrigins("1 (here)", "1 (here)")
    mse = outcome.scores["inductive"]["mse"]
    assert (len(mse), {len(step) for step in mse}) == (3, {60})
    test = record.tests["inductive"]
    assert abs(test.score - sum(mse[-1]) / 60) < 1e-12
    assert test.transductive is False


def test_it_says_what_has_its_default_and_how_busy_the_machine_was():
    found = run(algorithm_parameters={"inner_lr": 0.1, "seen": "this"}).record.provenance
    assert found.defaults.algorithm == ("inner_lr",)
    assert found.load is not None
    assert min(found.load) >= 0


def test_twice_the_same_bits():
    one, other = run(), run()
    assert one.scores == other.scores
    assert [p.score for p in one.record.curve] == [p.score for p in other.record.curve]


def test_best_on_validation_is_what_is_tested():
    record = run(budget=BUDGET).record
    best = min(record.curve, key=lambda point: point.score)
    assert record.selected_update == best.update


def test_initial_weights_and_test_tasks_are_common():
    SEEN.clear()
    run("recorder", seed=3)
    run("exploding", seed=3)
    run("recorder", seed=4)
    first, second, third = SEEN[0], SEEN[1], SEEN[-1]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_training_tasks_are_a_function_of_the_seed_alone():
    drawn: list[list[torch.Tensor]] = []

    def spying() -> Suite:
        real = lines()

        def sample(split, n, generator):
            tasks = real.sample(split, n, generator)
            if split == "train" and n != A_FEW:  # those of the digest are the same at every seed
                drawn[-1].append(tasks.support.x)
            return tasks

        return real._replace(sample=sample)

    for algorithm, seed in (("recorder", 0), ("exploding", 0), ("recorder", 1)):
        drawn.append([])
        run(algorithm, "spying", seed, toys(spying=spying))
    together = zip(drawn[0], drawn[1], strict=False)
    assert all(torch.equal(one, other) for one, other in together)
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_test_tasks_do_not_depend_on_how_many_there_are():
    few, many = (flatten(list(task_blocks(lines(), "lines", "test", n, "cpu")))[0] for n in (30, 130))
    assert torch.equal(few[0], many[0][:30])
    assert sum(len(block.query.x) for block in task_blocks(lines(), "lines", "test", 130, "cpu")) == 130


def test_one_block_of_tasks_is_in_memory_at_a_time(monkeypatch):
    """However many validation and test tasks there are: what was drawn before is gone when the next is scored."""
    seen = []
    score = evaluate.score

    def watching(suite, adapted, tasks, inductive):
        seen.append(weakref.ref(tasks.query.x))
        assert len({id(each()) for each in seen if each() is not None}) == 1
        return score(suite, adapted, tasks, inductive)

    monkeypatch.setattr(evaluate, "score", watching)
    budget = Budget(updates=2, meta_batch_size=4, validations=1, validation_tasks=120, test_tasks=170, test_steps=1)
    assert run(budget=budget).record.status == "ok"
    assert len(seen) == 2 * 3 + 4 * 2


def test_divergence_is_a_row_with_a_reason():
    record = run("exploding", budget=Budget(updates=40, meta_batch_size=2, validation_tasks=4, test_tasks=4)).record
    assert record.status == "diverged"
    assert record.reason == "the training loss was nan at update 20 of 40"
    assert record.curve


def test_a_bug_in_a_plugin_is_a_row_with_its_traceback():
    record = run("raising").record
    assert (record.status, record.reason) == ("error", "RuntimeError: a bug over two lines")
    assert "objective" in record.provenance.traceback


def test_a_name_that_this_process_does_not_know_is_a_row_too():
    record = run("nobody").record
    assert (record.status, record.reason[:26]) == ("error", "Unknown algorithm 'nobody'")


def test_overlapping_splits_are_refused():
    overlap = clouds()._replace(groups=lambda split: frozenset({"a", split}))
    record = run(suite="overlap", registry=toys(overlap=lambda: overlap)).record
    assert record.reason == "Suite 'overlap': the train and validation splits share 1 classes, such as 'a'."


def test_running_statistics_and_dropout_are_refused():
    for layer, word in ((nn.BatchNorm1d(1), "running statistics"), (nn.Dropout(0.5), "random numbers")):
        suite = lines()._replace(model=lambda layer=layer: nn.Sequential(layer, nn.Linear(1, 1)))
        record = run(suite="bad", registry=toys(bad=lambda suite=suite: suite)).record
        assert record.status == "error"
        assert word in record.reason


def test_both_protocols_where_the_batch_matters_and_one_where_it_does_not():
    assert list(run(suite="lines", protocol="both").record.tests) == ["inductive"]
    record = run(suite="clouds", protocol="both").record
    assert {name: test.transductive for name, test in record.tests.items()} == {
        "transductive": True,
        "inductive": False,
    }
    assert record.tests["transductive"].score != record.tests["inductive"].score


def test_inductive_prediction_of_a_point_ignores_the_other_queries():
    norm = nn.BatchNorm1d(1, track_running_stats=False)
    support, query = torch.randn(4, 1), torch.randn(3, 1)
    with torch.no_grad():
        alone = inductive(norm, support)
        other = torch.cat([query[:1], torch.randn(5, 1) * 9])
        assert torch.allclose(alone(query)[0], alone(other)[0])
        expected = norm(torch.cat([support, query[:1]]))[-1]
        assert torch.allclose(alone(query)[0], expected, atol=1e-6)


def test_a_task_is_scored_by_its_own_query_set():
    def sample(split, n, generator):
        x = torch.zeros(n, 2, 1)
        return Task(Batch(x, x), Batch(x, torch.arange(n).float().view(n, 1, 1).expand(n, 2, 1)))

    suite = lines()._replace(sample=sample, model=lambda: Zero())
    scores = run(suite="zero", registry=toys(zero=lambda: suite), budget=Budget(updates=0, test_tasks=3)).scores
    assert scores["inductive"]["mse"][0] == [0.0, 1.0, 4.0]


class Zero(nn.Module):
    """Predicts zero whatever its weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x * self.weight
