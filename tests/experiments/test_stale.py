"""What is finished and no longer matches: said in one line, kept apart, and run again when asked."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import pytest

import metabench
from metabench.experiments.experiment import experiment
from metabench.experiments.read_options import read_options
from metabench.records import store
from metabench.records.locks import Claim, TrialLocks
from metabench.records.provenance import Digests, Provenance
from tests.builders import outcome

HEADER = "task,x,target\n"
PLUGIN = """
from metabench.api import Algorithm, InnerLoop, hookimpl

def mine(problem):
    "Mine."
    inner = InnerLoop(lambda m, s: m, lambda m, f, s, i: f, lambda m, f, x: problem.apply(f, x))
    return Algorithm(problem.init, inner)

@hookimpl
def register_algorithms():
    return {"mine": mine}
"""


def table(scale: float = 1.0) -> str:
    rows = (f"t{task},{0.1 * row},{scale * (task + 0.3 * row)}" for task in range(8) for row in range(5))
    return HEADER + "\n".join(rows) + "\n"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """`plan(**options)` checks a command of one algorithm on one table, and seeds 0 and 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text(table(), "utf-8")
    (tmp_path / "plug.py").write_text(PLUGIN, "utf-8")

    def check(**options):
        given = {"algos": "mine", "suites": "tabular", "plugins": "plug.py", "out": "r", "seeds": 2}
        data = {"tabular.path": "data.csv", "tabular.shots": 2, "tabular.queries": 2}
        return experiment(read_options(None, {**given, "set": data, "test_tasks": 4, **options}))

    return check


def finish(trial, digests: Digests) -> None:
    store.write(
        Path("r"), outcome(trial, {"inductive": [[1.0, 2.0]] * 2}, "mse", provenance=Provenance(digests=digests))
    )


def now(trial, plugins=("plug.py",)) -> Digests:
    """As a worker records them."""
    from metabench.engine.build import build_suite
    from metabench.engine.digests import code_digests, code_now, data_digests
    from metabench.registry.discovery import load_registry

    registry = load_registry(plugins)
    code = code_digests(code_now(registry, [trial]), trial)
    data = data_digests(trial, build_suite(registry, trial))
    return Digests(code.algorithm, code.suite, data.data, data.tests)


def lines_of(found) -> list[str]:
    return [line for line in found.notices if "finished trial" in line]


@pytest.fixture
def finished(plan):
    """The same, with records of both trials."""
    first = plan()
    assert len(first.pending) == 2
    for trial in first.trials:
        finish(trial, now(trial))
    return plan


def test_what_matches_is_skipped_without_a_word(finished, tmp_path):
    (tmp_path / "plug.py").write_text(f"# comment\n{PLUGIN}".replace("Mine.", "Another docstring."), "utf-8")
    found = finished()
    assert (found.pending, lines_of(found)) == ((), [])


@pytest.mark.parametrize("what", ["the code of algorithm 'mine'", "the data of suite 'tabular'"])
def test_what_was_changed_is_said_in_one_line_and_run_again_when_asked(finished, tmp_path, what):
    if "code" in what:
        (tmp_path / "plug.py").write_text(PLUGIN.replace("lambda m, s: m", "lambda m, s: dict(m)"), "utf-8")
    else:
        (tmp_path / "data.csv").write_text(table(-1.0), "utf-8")
    found = finished()
    (line,) = lines_of(found)
    assert line.startswith("2 finished trials do not match what was changed since: ")
    assert f"{what} (2)" in line
    assert line.endswith("; kept as they are; --rerun-changed runs them again.")
    assert found.pending == ()
    again = finished(rerun_changed=True)
    assert again.pending == again.trials
    locks = TrialLocks(again.out, outdated=again.outdated)
    first, second = again.trials
    assert locks.claim(first) is Claim.ACQUIRED
    finish(second, now(second))  # as another command that runs at the same time does
    assert locks.claim(second) is Claim.DONE
    locks.release_all()


def test_records_without_digests_are_unknown_and_kept(finished):
    for trial in finished().trials:
        finish(trial, Digests())
    found = finished(rerun_changed=True)
    assert found.pending == ()
    assert lines_of(found) == [
        "2 finished trials are of an earlier metabench, which kept no digests: whether code and data are the same "
        "today is unknown."
    ]


def test_the_same_file_in_another_folder_is_the_same_data_and_another_file_of_its_name_is_not(
    finished, tmp_path, monkeypatch
):
    for folder, scale, said in (("same", 1.0, 0), ("other", 2.0, 1)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text(table(scale), "utf-8")
        monkeypatch.chdir(tmp_path / folder)
        found = finished(out="../r", plugins="../plug.py")
        assert len(lines_of(found)) == said


def test_load_warns_of_what_does_not_match_and_tells_it_apart(finished):
    first, second = finished().trials
    with warnings.catch_warnings(action="error"):
        assert set(metabench.load("r")["digests"]) == {now(first).text}
    finish(second, msgspec.structs.replace(now(second), data="other"))
    with pytest.warns(UserWarning, match="Suite 'tabular' was not the same for all trials: data .* neither compared"):
        assert metabench.load("r")["digests"].nunique() == 2


def test_a_search_does_not_go_on_from_candidates_of_other_code(here, tmp_path):
    path = tmp_path / "plug.py"
    path.write_text(PLUGIN.replace("def mine(problem)", "def mine(problem, *, rate: float = 0.1)"), "utf-8")
    size = ("--updates", "2", "--validations", "1", "--validation-tasks", "4", "--test-steps", "1", "--jobs", "1")
    words = ("tune", "--algos", "mine", "--suites", "sinusoid", "--plugin", "plug.py", "--trials", "1", "--out", "t")
    space = ("--space", "mine.rate=0.1,0.2")
    first = here(*words, *size, *space)
    assert first.returncode == 0, first.stdout + first.stderr
    assert here(*words, *size, *space).returncode == 0
    path.write_text(path.read_text("utf-8").replace("m, f, s, i: f", "m, f, s, i: dict(f)"), "utf-8")
    other = here(*words, *size, *space)
    assert other.returncode == 2
    assert "the code of algorithm 'mine'" in other.stderr
    assert "another --out" in other.stderr


def test_a_worker_says_that_what_is_there_is_of_other_code(here, tmp_path):
    path = tmp_path / "plug.py"
    path.write_text(PLUGIN, "utf-8")
    words = (
        "run",
        "--algos",
        "mine",
        "--suites",
        "sinusoid",
        "--seeds",
        "1",
        "--plugin",
        "plug.py",
        "--updates",
        "2",
    )
    size = ("--validations", "1", "--validation-tasks", "4", "--test-tasks", "4", "--test-steps", "1")
    assert here(*words, *size, "--out", "r", "--dry-run", "--write-trials", "trials").returncode == 0
    (trial,) = (tmp_path / "trials").iterdir()
    worker = ("worker", str(trial), "record.json", "--plugin", "plug.py")
    assert here(*worker).returncode == 0
    assert here(*worker).stdout == "'record.json' is there already.\n"
    path.write_text(PLUGIN.replace("m, f, s, i: f", "m, f, s, i: dict(f)"), "utf-8")
    assert "the code of algorithm 'mine' was changed since" in here(*worker).stdout
