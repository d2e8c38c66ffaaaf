"""The conformance kit: each wrong plugin of the zoo fails the check named for it, and no other."""

from __future__ import annotations

import copy
import inspect
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import metabench
from metabench.api import Batch, Recipe
from metabench.errors import UserError
from metabench.registry.discovery import Registry
from metabench.testing import check_algorithm, check_plugin, check_suite, explain
from metabench.testing.checks import last_line, where
from metabench.testing.conformance import ALGORITHM, SUITE, kit_of
from metabench.testing.repeatability_checks import looks_random
from metabench.testing.suite_task_checks import SuiteCase
from metabench.testing.toy_suites import clouds, lines
from tests.cli_helpers import outside
from tests.testing.zoo import algorithms, matrix, suites
from tests.warm_processes import run_warmly

ROOT = Path(__file__).resolve().parents[2]
AUTHORS = """
from metabench.testing import kit
test_state = kit("state-not-saved", plugin={file!r}, expected_failures={{"state-round-trip": "the optimiser is away",
                 "learns": "it does not"}})
test_wrong = kit("wrong-sign", plugin={file!r})
"""


def failed(results):
    return {result.check: result.message for result in results if result.verdict == "failed"}


def test_the_right_one_passes():
    results = {result.check: result.verdict for result in check_algorithm(algorithms.right)}
    assert results.pop("other-process") == "skipped"  # a function that no plugin registers
    assert set(results.values()) == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "check"),
    [
        (kind, name, check)
        for kind, zoo in (("algorithm", algorithms.ZOO), ("suite", suites.ZOO))
        for name, (_, check) in zoo.items()
    ],
)
def test_every_wrong_plugin_is_caught_by_its_check_and_no_other(kind, name, check):
    results = matrix.results(kind, name)
    assert set(failed(results)) == {check}
    rule = next(
        each.rule for each in (*ALGORITHM, *SUITE) if each.name == check and each.rule in failed(results)[check]
    )
    message = failed(results)[check].removeprefix(rule)
    assert message.startswith(" Seen")
    assert " Likely cause: " in message


def test_every_check_catches_something():
    caught = [check for zoo in (algorithms.ZOO, suites.ZOO) for _, check in zoo.values()]
    assert set(caught) == {check.name for check in (*ALGORITHM, *SUITE)}


def test_every_check_says_why_and_what_to_do():
    for check in (*ALGORITHM, *SUITE):
        assert check.rule.endswith(".")
        assert "Typical causes: " in check.explanation
        assert "Remedy: " in check.explanation


def test_a_failure_names_the_line_to_change():
    text = Path(algorithms.__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(
        i
        for i, words in enumerate(text)
        if "def step" in words and i > text.index("def first_order_posing_as_second(problem):")
    )
    message = failed(matrix.results("algorithm", "first-order-as-second"))["gradient-exact"]
    assert message.endswith(
        f"Likely cause: a `detach` or `no_grad` on the way (algorithms.py, line {line}); "
        "if first order is meant, give `meta_grad`."
    )


def test_an_exception_is_one_failure_with_its_line():
    line = 1 + Path(algorithms.__file__).read_text(encoding="utf-8").splitlines().index('    raise KeyError("oops")')
    message = failed(matrix.results("algorithm", "raises"))["runs"]
    assert message.endswith(
        f"Seen on 'lines': KeyError: 'oops'. Likely cause: the exception comes from algorithms.py, line {line}."
    )


def suite_results(suite, expected_failures=None):
    return check_suite(SuiteCase(suite, "toy", Registry({}, {}, ())), expected_failures)


@pytest.mark.parametrize("suite", [lines(), clouds()])
def test_the_toys_pass(suite):
    assert failed(suite_results(suite)) == {}


def test_expected_failures():
    reasons = {"metric-direction": "it is meant so", "judges": "it is not"}
    results = {result.check: result for result in suite_results(suites.wrong_way_round(), reasons)}
    assert results["metric-direction"][1:] == ("expected", "fails as expected: it is meant so")
    assert results["judges"].verdict == "unexpected"
    assert results["judges"].message == "passes, but was expected to fail: it is not. Expect it no longer."
    with pytest.raises(UserError, match="expected_failures: Unknown check 'judge'. Did you mean 'judges'?"):
        suite_results(lines(), {"judge": ""})


@pytest.mark.slow
def test_one_pytest_test_a_check(tmp_path, common_folder):
    (tmp_path / "test_mine.py").write_text(AUTHORS.format(file=str(algorithms.__file__)), encoding="utf-8")
    words = ["-q", "-rA", "-p", "no:cacheprovider", "test_mine.py"]
    words += ["-k", "state-round-trip or learns or float64-kept or support-trains"]
    said = run_warmly(common_folder, "pytest:console_main", words, tmp_path, outside(COLUMNS="200")).stdout
    assert "XFAIL test_mine.py::test_state[state-round-trip] - the optimiser is away" in said
    assert "XPASS test_mine.py::test_state[learns]" in said
    assert "PASSED test_mine.py::test_state[float64-kept]" in said
    assert "FAILED test_mine.py::test_wrong[learns] - Failed: Meta-training lowers its own loss" in said
    assert "See `metabench check wrong-sign --explain learns`." in said
    assert "1 failed, 4 passed, 1 skipped" in said
    assert "it is a Learner, which batches its own tasks" in said


def test_the_kit_does_not_import_pytest():
    code = "import sys, metabench.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_explain(here):
    result = here("check", "maml", "--explain", "gradient-exact")
    assert result.returncode == 0
    assert result.stdout.startswith("gradient-exact: Where an objective is claimed, its gradient is exact:")
    assert "Remedy: take the detach out; or, if first order is meant, give `meta_grad`" in result.stdout
    assert result.stdout.rstrip().endswith("Not looked at until these hold: runs, float64-kept.")
    wrong = here("check", "maml", "--explain", "gradient")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(
        "metabench: Unknown check 'gradient'. Did you mean 'gradient-exact'? Available: ad"
    )
    assert here("check", "sinusoid", "--explain", "gradient-exact").returncode == 2


def test_explain_of_a_check(registry):
    assert "samples" in explain(registry, "sinusoid", "shapes")


def test_recipes_that_name_what_is_not_there(registry):
    entry = registry.suites["sinusoid"]
    for recipe, message in (
        (Recipe("x", suite={"shot": 1}), "recipe 'wrong': Suite 'sinusoid' has no parameter 'shot'."),
        (Recipe("x", budget={"epochs": 1}), "recipe 'wrong' has no budget field 'epochs'"),
        (Recipe("x", algorithms={"maml": {"lr": 1}}), "recipe 'wrong': Algorithm 'maml' has no parameter 'lr'."),
        (Recipe("x", shared={"inner_rl": 1}), "recipe 'wrong' shares 'inner_rl', which no algorithm has"),
        (Recipe("x", shared={"inner_lr": "a"}), "recipe 'wrong': Parameter 'inner_lr' of algorithm '"),
    ):
        suite = entry.factory()._replace(recipes={"wrong": recipe})
        results = failed(check_suite(SuiteCase(suite, "sinusoid", registry)))
        assert set(results) == {"recipes"}
        assert f"Seen: {message}" in results["recipes"]


OURS = ["sinusoid", "glyphs", *(["omniglot"] if os.environ.get("METABENCH_DATA") else [])]


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_suites_pass(registry, name, elsewhere):
    assert failed(kit_of(registry, name, elsewhere=elsewhere("suite")(name)).results()) == {}


def test_the_matrix_has_a_row_a_plugin():
    text = matrix.table("suite", SUITE, {"raises-too": suites.ZOO["raises-too"]})
    row = text.splitlines()[2]
    assert row.startswith("| raises-too | 1 samples | ● | ○ |")
    assert row.count("●") == 1


@pytest.mark.slow
def test_rates_are_looked_at_where_parameters_are_set_by_hand():
    for parameters in ({"inner_lr": 0.1}, None):
        results = check_plugin(matrix.registry(), "inner-lr-ignored", parameters=parameters)
        value = 0.1 if parameters else 0.05
        assert f"inner_lr={value}, {2 * value} and" in failed(results)["learning-rates"]


def test_data_that_cannot_be_read_is_one_line(here):
    words = ("--set", "tabular.path=none.csv", "--set", "tabular.kind=regression")
    result = here("check", "tabular", *words)
    assert result.returncode == 2
    assert result.stderr.startswith("metabench: Suite 'tabular': there is no ")


REFUSES = """
from metabench.api import hookimpl

def refuses(problem):
    "An algorithm that takes none of the kit's problems."
    raise ValueError("size must be even, not 1")

@hookimpl
def register_algorithms():
    return {"refuses": refuses}
"""


@pytest.mark.slow  # it starts the other processes
def test_a_kit_in_which_nothing_applies_does_not_pass(here, tmp_path):
    (tmp_path / "refuses.py").write_text(REFUSES, encoding="utf-8")
    result = here("check", "refuses", "--plugin", "refuses.py")
    assert result.returncode == 2
    assert result.stderr == "metabench: Nothing of 'refuses' could be checked: size must be even, not 1.\n"


def test_a_package_whose_name_begins_like_ours_is_not_ours(tmp_path):
    file = f"{Path(metabench.__file__).parent}_mine.py"
    scope: dict = {}
    exec(compile("def step(): pass", file, "exec"), scope)
    assert where(scope["step"]) == " (metabench_mine.py, line 1)"


class Inherits(torch.nn.Module):
    """A Learner whose state_dict is torch's, which leaves the optimiser out."""

    trainable = True

    def __init__(self, problem):
        super().__init__()
        self.net, self.problem = problem.module(), problem
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-2)

    def update(self, tasks, progress):
        self.optimizer.zero_grad()
        loss = self.problem.criterion(self.net, Batch(tasks.query.x[0], tasks.query.y[0]))
        loss.backward()
        self.optimizer.step()
        return loss

    def adapt(self, support, steps):
        for i in range(steps + 1):
            yield [partial(self.moved, support.y[n].sum() * i) for n in range(len(support.x))]

    def moved(self, by, x):
        return self.net(x) + 1e-3 * by


class NeedsGradients(Inherits):
    """Its inner loop calls backward, and nobody has switched gradients on."""

    def adapt(self, support, steps):
        self.problem.criterion(self.net, Batch(support.x[0], support.y[0])).backward()
        return super().adapt(support, steps)


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [(Inherits, "state-round-trip", "leaves out what"), (NeedsGradients, "runs", "the exception comes from")],
)
def test_the_line_that_a_cause_names_is_the_authors(kind, check, words):
    cause = failed(check_algorithm(lambda problem: kind(problem)))[check].partition("Likely cause: ")[2]
    assert words in cause
    file, line = re.search(r"(\w+\.py), line (\d+)", cause).groups()
    assert file == "test_kit.py"
    source = inspect.getsource(sys.modules[__name__]).splitlines()[int(line) - 1]
    assert "def update" in source or ".backward()" in source


def test_an_exception_without_a_line_of_the_author_names_no_other_as_his():
    with pytest.raises(RuntimeError) as caught:
        copy.deepcopy(torch.ones((), requires_grad=True) * 2)
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)  # without the line above
    assert last_line(error, ("/home/author/",)).startswith("what the plugin gave before")


def test_random_numbers_are_told_from_what_is_made_by_a_rule():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(4, 4, generator=generator), torch.rand(8, generator=generator)]
    assert all(map(looks_random, drawn))
    made = [torch.eye(4), torch.zeros(20), torch.linspace(0, 1, 20), torch.linspace(0, 3, 40).sin(), torch.arange(20)]
    assert not any(map(looks_random, made))
