"""Suites that cannot be built, prepared or trained on: one line at once, or the reason in the trial's record."""

from __future__ import annotations

import warnings

import msgspec
import pytest
import torch

from metabench.engine.run import run_trial
from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.records import store
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import load_registry
from tests.cli_helpers import call, refused
from tests.malformed import HEAD, with_plugin

pytestmark = pytest.mark.slow  # quick each, but many

TINY = ("--updates", "2", "--validations", "1", "--validation-tasks", "4", "--test-tasks", "6", "--test-steps", "1")

SUITE = (
    HEAD
    + """
def batch(n):
    return Batch(torch.zeros(n, 5, 1), torch.zeros(n, 5, 1))

def weird(*, ways: int = 5):
    sample = lambda split, n, generator: Task(batch(n), batch(n))
    model = lambda: nn.Linear(1, 1)
    loss = lambda predict, batch: ((predict(batch.x) - batch.y) ** 2).mean()
    metrics = lambda predict, batch: {{"mse": loss(predict, batch)}}
    suite = Suite(sample, model, loss, metrics, False)
    {change}
    return suite

@hookimpl
def register_suites():
    return {{"weird": weird}}
"""
)

FACTORIES = [
    *("raise ValueError('a\\nb')", "raise RuntimeError", "raise SystemExit(0)", "raise KeyError(3)", "return None"),
    *("return 3", "return Suite", "return (1, 2)", "return {}", "return [suite]", "1 / 0", "import nothing_like_it"),
    *("suite = suite._replace(nothing=3)", "suite = suite._replace(recipes=None)"),
    *("suite = suite._replace(recipes=3)", "suite = suite._replace(recipes=[])"),
    "suite = suite._replace(recipes={'quick': 3})",
    *(f"suite = suite._replace(recipes={{'quick': {recipe}}})"
      for recipe in (
          "Recipe('x', budget=3)", "Recipe('x', suite=3)", "Recipe('x', algorithms=3)", "Recipe('x', compare=3)",
          "Recipe('x', algorithms={'maml': 3})", "Recipe('x', compare='maml')", "Recipe('x', compare=(1,))",
          "Recipe('x', budget={'updates': 'x'})", "Recipe('x', budget={'nope': 1})", "Recipe('x', budget={1: 1})",
          "Recipe('x', budget={'updates': -1})", "Recipe('x', budget={'updates': 10**12})",
          "Recipe('x', suite={'nope': 1})", "Recipe('x', suite={'ways': 'x'})", "Recipe('x', suite={'ways': 10**30})",
          "Recipe('x', algorithms={'maml': {'nope': 1}})", "Recipe('x', algorithms={'maml': {'inner_lr': 'x'}})",
          "('x', {}, {}, {}, ())", "None",
      )),
]  # fmt: skip


@pytest.mark.parametrize("change", FACTORIES)
def test_suites_that_cannot_be_built(folder, change):
    line = with_plugin(folder, SUITE.format(change=change), "--suites", "weird", "--algos", "maml")
    assert "weird" in line


@pytest.mark.parametrize("change", FACTORIES)
def test_suites_that_cannot_be_built_do_not_concern_others(folder, change):
    (folder / "plug.py").write_text(SUITE.format(change=change), encoding="utf-8")
    result = call(folder, "run", "--dry-run", "--plugin", "plug.py")
    assert result.returncode == 0 or (
        result.returncode == 2 and "'weird'" in result.stderr and result.stderr.count("\n") == 1
    ), result


@pytest.mark.parametrize(
    "change",
    [
        f"suite = suite._replace({field})"
        for field in (
            *(
                "prepare=3",
                "prepare=lambda: 1 / 0",
                "groups=3",
                "groups=lambda split: {'a'}",
                "groups=lambda split: 3",
            ),
            *("groups=lambda split: None", "prepare=lambda x: x", "groups=lambda split: frozenset({3})"),
            *("prepare=lambda: exit(0)", "prepare=lambda: open('/nothing/x')", "groups=lambda: frozenset()"),
        )
    ],
)
def test_suites_that_cannot_be_prepared(folder, change):
    (folder / "plug.py").write_text(SUITE.format(change=change), encoding="utf-8")
    words_ = ("run", "--plugin", "plug.py", "--suites", "weird", "--algos", "maml", "--out", "results/r", *TINY)
    assert "'weird'" in refused(folder, *words_)


RUBBISH = [
    *(f"suite = suite._replace({field}=lambda *a: {value})"
      for field in ("sample", "model", "loss", "metrics")
      for value in ("None", "3", "'x'", "[]", "1 / 0", "torch.zeros(3)", "exit(0)")),
    *(f"suite = suite._replace({field}={value})"
      for field in ("sample", "model", "loss", "metrics") for value in (3, None)),
    "suite = suite._replace(metrics=lambda p, b: {})",
    "suite = suite._replace(metrics=lambda p, b: {'a': 'x'})",
    "suite = suite._replace(metrics=lambda p, b: {3: p(b.x).mean()})",
    "suite = suite._replace(metrics=lambda p, b: {'a': torch.tensor(float('nan'))})",
    "suite = suite._replace(metrics=lambda p, b: {'a': torch.zeros(3)})",
    "suite = suite._replace(sample=lambda s, n, g: Task(batch(n + 1), batch(n)))",
    "suite = suite._replace(sample=lambda s, n, g: (batch(n), batch(n)))",
    "suite = suite._replace(sample=lambda s, n, g: Task(batch(0), batch(0)))",
    "suite = suite._replace(sample=lambda s, n, g: Task(Batch(batch(n).x / 0, batch(n).y), batch(n)))",
    "suite = suite._replace(model=lambda: nn.Linear(3, 3))",
    "suite = suite._replace(model=lambda: nn.Identity())",
    "class E(Exception):\n        def __str__(self): raise RuntimeError('worse')\n"
    "    def bad(*a): raise E\n    suite = suite._replace(sample=bad)",
]  # fmt: skip


@pytest.mark.parametrize("change", RUBBISH)
def test_what_a_trial_meets_is_in_its_record(tmp_path, change):
    (tmp_path / "plug.py").write_text(SUITE.format(change=change), encoding="utf-8")
    registry = load_registry((str(tmp_path / "plug.py"),))
    budget = Budget(updates=2, meta_batch_size=2, validations=1, validation_tasks=2, test_tasks=2, test_steps=1)
    (trial,) = plan_trials(
        read_options(None, {"suites": ["weird"], "algos": ["maml"], "seeds": 1, **msgspec.structs.asdict(budget)}),
        registry,
    )
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings(action="ignore"):
            result = run_trial(trial, Execution(strategy="vectorised"), lambda sign: None, registry)
    finally:
        torch.set_num_threads(threads)
    assert result.record.status in ("error", "diverged"), (result.record.status, result.record.tests)
    assert result.record.reason
    assert "\n" not in result.record.reason
    store.write(tmp_path / "r", result)
    assert store.record_of(tmp_path / "r", trial.id) is not None
