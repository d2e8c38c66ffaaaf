"""The command line as a user meets it: exact words, exit codes, and nothing finished lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import typer

from metabench.records.locks import running
from tests.cli_helpers import refused
from tests.waiting import HANG, wait_for

TINY = ("--updates", "2", "--validations", "1", "--validation-tasks", "4", "--test-tasks", "6", "--test-steps", "1")

CONFIG = """
algos = ["maml", "scratch"]
suites = ["sinusoid"]
seeds = 1
updates = 2
validations = 1
validation_tasks = 4
test_tasks = 6

[set.maml]
inner_lr = 0.02
"""

FAILING = """
from metabench.api import Algorithm, InnerLoop, hookimpl

def bad(problem, *, when: str = "now"):
    "Fails, or dies."
    def step(meta, fast, support, i):
        if when == "die":
            import os
            os._exit(3)
        raise RuntimeError("boom")
    return Algorithm(problem.init, InnerLoop(lambda m, s: m, step, lambda m, f, x: problem.apply(f, x)))

@hookimpl
def register_algorithms():
    return {"bad": bad}
"""


def line_of(result) -> str:
    """The one line on stderr of a call that was refused, after what a download says."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.strip().split("\n") if not line.startswith("Downloading data from")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_version_and_module(metabench, tmp_path):
    said = metabench("--version").stdout
    assert re.fullmatch(r"metabench \d+\.\d+\.\d+, torch \d+\.\d+.*, Python \d+\.\d+\.\d+\n", said)
    command = [sys.executable, "-m", "metabench", "--version"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8").stdout == said


def test_help_is_complete(metabench):
    result = metabench("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in ("run", "list", "plugins", "report", "check"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("run", "--algos", "mamll"),
            "metabench: Unknown algorithm 'mamll'. Did you mean 'maml'? Available:",
        ),
        (
            ("run", "--suites", "sinusoids"),
            "metabench: Unknown suite 'sinusoids'. Did you mean 'sinusoid'?",
        ),
        (
            ("run", "--algos", "maml", "--set", "maml.inner_rl=1"),
            "metabench: Algorithm 'maml' has no parameter 'inner_rl'. Did you mean 'inner_lr'? Available:",
        ),
        (
            ("run", "--algos", "maml", "--set", "maml.inner_lr=fast"),
            "metabench: Parameter 'inner_lr' of algorithm 'maml' must be float of at least 0, not 'fast'.",
        ),
        (
            ("run", "--algos", "maml", "--set", "reptile.inner_lr=1"),
            "metabench: This run has no algorithm or suite to --set: 'reptile'.",
        ),
        (("run", "--set", "maml"), "metabench: Cannot read --set 'maml'. It looks like --set NAME.inner_lr=0.1."),
        (("run", "--seeds", "x"), "metabench: --seeds takes a number (3) or a list (0,4,7), not 'x'."),
        (
            ("run", "--seeds", "0"),
            "metabench: Cannot use the options: seeds must be a number of at least 1 or a list",
        ),
        (
            ("run", "--updates", "-1"),
            "metabench: Cannot use the budget of 'maml' on 'glyphs': updates",
        ),
        (("run", "--jobs", "0"), "metabench: Cannot use the options: jobs must be at least 1, not 0."),
        (
            ("run", "--protocol", "x"),
            "metabench: Cannot use option 'protocol': there is no 'x'. Available: both, ",
        ),
        (("run", "--device", "cuda:99"), "metabench: Cannot use device 'cuda:99': "),
        (("run", "--recipe", "papr"), "metabench: Suite 'glyphs' has no recipe 'papr'. Did you mean 'paper'?"),
        (("run", "--data", "nowhere"), "metabench: There is no data folder 'nowhere' (--data)."),
        (("run", "--config", "none.toml"), "metabench: Cannot read the configuration 'none.toml': "),
        (
            ("run", "--suites", "omniglot", "--set", "omniglot.ways=5000"),
            "metabench: Suite 'omniglot': ways is 5000, but the train split has 3288 classes: choose at most 3288",
        ),
        (
            ("run", "--suites", "glyphs", "--set", "glyphs.ways=500"),
            "metabench: Suite 'glyphs': ways is 500, but the ",
        ),
        (("run", "--plugin", "none.py"), "metabench: Cannot use the plugin file "),
        (("run", "--out", "/proc/none"), "metabench: Cannot write to the results folder '/proc/none': "),
        (("report", "none"), "metabench: There is no results folder 'none'."),
        (("check", "mamll"), "metabench: Unknown algorithm or suite 'mamll'. Did you mean 'maml'?"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_clear_line(here, words, message):
    assert line_of(here(*words)).startswith(message)


def test_a_configuration_with_an_unknown_key(here, tmp_path):
    (tmp_path / "bench.toml").write_text("algoz = ['maml']", encoding="utf-8")
    assert line_of(here("run", "--config", "bench.toml")).startswith(
        "metabench: Configuration 'bench.toml': Unknown option 'algoz'. Did you mean 'algos'?"
    )
    (tmp_path / "bench.toml").write_text("algos = 3", encoding="utf-8")
    assert (
        line_of(here("run", "--config", "bench.toml"))
        == "metabench: Cannot use option 'algos': Expected `array`, got `int`."
    )
    (tmp_path / "bench.toml").write_text("set = 3", encoding="utf-8")
    assert line_of(here("run", "--config", "bench.toml")).startswith("metabench: Cannot use option 'set'")


def test_missing_and_corrupt_archives(here, tmp_path):
    (tmp_path / "data").mkdir()
    words = ("run", "--suites", "omniglot", "--algos", "scratch", "--data", "data")
    cache = str(tmp_path / "cache")
    missing = line_of(here(*words, METABENCH_CACHE=cache))
    assert missing.startswith("metabench: Suite 'omniglot' needs 'images_background.zip': ")
    assert missing.endswith("give its parent with --data or METABENCH_DATA.")
    (tmp_path / "data" / "images_background.zip").write_bytes(b"no archive")
    assert "images_background.zip' cannot be read (BadZipFile" in line_of(here(*words, METABENCH_CACHE=cache))


@pytest.mark.slow
def test_run_again_skips_what_is_finished_and_gives_the_same_bits(here, tmp_path):
    words = ("run", "--algos", "maml,scratch", "--suites", "sinusoid", "--seeds", "2", *TINY)
    first = here(*words, "--out", "results/one")
    assert first.returncode == 0, first.stderr
    assert (
        "4 trials to run, 2 at once, on cpu: starting 2 workers." in first.stdout
        or "4 trials to run, 1 at once" in first.stdout
    )
    assert "[4/4] " in first.stdout
    again = here(*words, "--out", "results/one")
    assert "0 trials to run, 4 finished before" in again.stdout
    assert here(*words, "--out", "results/two", "--jobs", "1").returncode == 0
    one, two = (tmp_path / "results" / name for name in ("one", "two"))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert len(names) == 6  # with the plans, and what keeps states out of commits
    for name in set(names) - {"plans", ".gitignore"}:
        assert (one / name / "scores.json").read_bytes() == (two / name / "scores.json").read_bytes()
        curves = [
            json.loads((root / name / "record.json").read_text(encoding="utf-8"))["curve"] for root in (one, two)
        ]
        one_curve, two_curve = ([point["score"] for point in curve] for curve in curves)
        assert one_curve == two_curve


def test_dry_run_touches_nothing(here, tmp_path):
    result = here("run", "--dry-run", "--suites", "omniglot", METABENCH_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("15 trials, 15 of them to run, into results/default-on-omniglot.")
    made = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*.*")}
    assert made <= {("cache", "catalogue")}  # what is installed, and no data


@pytest.mark.slow
def test_a_failing_plugin_leaves_the_others_alone(here, tmp_path):
    (tmp_path / "bad.py").write_text(FAILING, encoding="utf-8")
    words = (
        "run",
        "--plugin",
        "bad.py",
        "--algos",
        "bad,scratch",
        "--suites",
        "sinusoid",
        "--seeds",
        "1",
        "--jobs",
        "1",
        *TINY,
    )
    raised = here(*words, "--out", "results/a")
    assert raised.returncode == 1, raised.stderr
    assert "sinusoid bad seed 0: error, RuntimeError: boom" in raised.stdout
    assert "Failed: sinusoid bad seed 0: error, RuntimeError: boom" in raised.stdout
    assert "1 of 2 trials failed; --retry-failed runs them again." in raised.stdout
    assert "Traceback" not in raised.stdout + raised.stderr
    died = here(*words, "--out", "results/b", "--set", "bad.when=die")
    assert died.returncode == 1, died.stderr
    assert "sinusoid bad seed 0: lost, its process ended by itself with exit code 3, 3 times" in died.stdout
    assert "sinusoid scratch seed 0: mse" in died.stdout
    assert here("report", "results/a", "--out", "reports/a", "--formats", "svg").returncode == 0
    assert "boom" in (tmp_path / "reports" / "a" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_algorithm_that_is_not_made_for_a_suite_is_left_out(here, tmp_path):
    words = ("run", "--suites", "sinusoid", "--seeds", "1", *TINY, "--out", "results/a")
    alone = here(*words, "--algos", "protonet")
    assert alone.returncode == 1
    why = "it is for classification, and the suite gives its tasks no number of classes (`ways`)"
    assert f"Left out: protonet on sinusoid: {why}." in alone.stdout
    nothing = here("report", "results/a", "--out", "reports/a")
    assert line_of(nothing).startswith("metabench: There is nothing to report in 'results/a'. Left out: protonet on")
    result = here(*words, "--algos", "protonet,scratch", "--retry-failed", "--fail-fast")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 trial to run, 1 finished before" in result.stdout
    assert "Left out: protonet on sinusoid" in result.stdout
    assert "sinusoid scratch seed 0: mse" in result.stdout
    assert "failed" not in result.stdout.lower()
    status = here("status", "results/a")
    assert status.returncode == 0
    assert why not in status.stdout
    assert here("report", "results/a", "--out", "reports/a", "--formats", "svg").returncode == 0
    page = (tmp_path / "reports" / "a" / "report.md").read_text(encoding="utf-8")
    assert f"Left out: protonet on sinusoid: {why}.".replace("`", "\\`") in page
    assert "Failed trials" not in page
    assert "1 trial (all ok): 1 algorithm on 1 suite" in page


@pytest.mark.slow
def test_divergence_is_a_row_and_the_run_goes_on(here, tmp_path):
    words = ("run", "--algos", "maml,scratch", "--suites", "sinusoid", "--seeds", "1", "--jobs", "1", *TINY)
    result = here(*words, "--updates", "30", "--set", "maml.inner_lr=1e30")
    assert result.returncode == 1
    assert "sinusoid maml seed 0: diverged, the training loss was nan at update 20 of 30" in result.stdout
    assert "sinusoid scratch seed 0: mse" in result.stdout


@pytest.mark.slow
def test_a_part_of_a_configuration_is_run_without_what_it_sets_for_the_rest(here, tmp_path):
    lines = ['algos = ["maml", "reptile"]', 'suites = ["sinusoid", "glyphs"]', "[set.glyphs]", "shots = 2"]
    (tmp_path / "both.toml").write_text("\n".join([*lines, "[set.maml]", "inner_lr = 0.5"]), "utf-8")
    part = ("run", "--config", "both.toml", "--seeds", "1", "--dry-run")
    assert here(*part, "--suites", "sinusoid", "--algos", "reptile").returncode == 0
    assert here(*part, "--suites", "sinusoid:sinusoid+x_high=9").returncode == 0
    result = here(*part, "--suites", "sinusoid", "--set", "glyphs.shots=3")
    assert result.stderr.startswith("metabench: This run has no algorithm or suite to --set: 'glyphs'.")


def test_a_configuration_file_and_options_before_it(here, tmp_path):
    (tmp_path / "bench.toml").write_text(CONFIG, encoding="utf-8")
    result = here("run", "--config", "bench.toml", "--set", "maml.inner_steps=2", "--out", "r")
    assert result.returncode == 0, result.stdout + result.stderr
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "r").glob("*/record.json")]
    (maml,) = (r["trial"] for r in records if r["trial"]["algorithm"] == "maml")
    assert maml["algorithm_parameters"] == {"inner_lr": 0.02, "inner_steps": 2, "outer_lr": 0.001}


def test_lists_name_parameters_and_broken_plugins(here, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_like_it", encoding="utf-8")
    listed = here("list", "--plugin", "bad.py", METABENCH_PLUGINS=str(tmp_path / "broken.py"))
    assert line_of(listed).startswith("metabench: Cannot use the plugin file")
    listed = here("list", METABENCH_PLUGINS=str(tmp_path / "broken.py"))
    assert listed.returncode == 0
    assert "MAML, second order" in next(line for line in listed.stdout.splitlines() if line.startswith("maml "))
    assert "--set maml.inner_lr=0.01   float" in here("list", "maml").stdout
    assert (
        "Plugin 'broken' could not be loaded: ModuleNotFoundError: No module named 'nothing_like_it'."
        in listed.stdout
    )
    table = here("plugins", METABENCH_PLUGINS=str(tmp_path / "broken.py"))
    assert table.returncode == 0
    assert "ModuleNotFoundError" in table.stdout


@pytest.mark.slow
def test_from_python(tmp_path):
    import metabench

    frame = metabench.run(
        algos=["scratch"],
        suites=["sinusoid"],
        seeds=2,
        test_tasks=6,
        test_steps=1,
        validations=0,
        out=str(tmp_path / "r"),
    )
    assert frame["status"].tolist() == ["ok", "ok"]
    assert len(metabench.load_tasks(tmp_path / "r")) == 2 * 2 * 6
    assert metabench.load(tmp_path / "r").equals(frame)
    other = metabench.run(
        algos="scratch", suites="sinusoid", seeds=1, test_tasks=4, validations=0, out=tmp_path / "r"
    )
    assert len(other) == 1  # the folder holds trials of other calls
    assert not set(other["trial_id"]) & set(frame["trial_id"])
    assert len(metabench.load(tmp_path / "r")) == 3


@pytest.mark.slow
def test_ctrl_c_stops_at_once_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-c", "from metabench.cli.main import main; main()", "run", "--algos", "maml"]
    words = ["--suites", "sinusoid", "--seeds", "2", "--updates", "100000", "--out", "r"]
    process = subprocess.Popen(
        [*command, *words], cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    assert process.stdout is not None
    assert "2 trials to run" in process.stdout.readline()
    wait_for(lambda: running(tmp_path / "r"))
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert rest.splitlines()[0].startswith("Stopping: running trials make a checkpoint")
    assert rest.splitlines()[1] + "\n" == "Stopped. What was finished is in r; the same command goes on from there.\n"


def test_what_a_parser_quotes_is_cut(tmp_path, monkeypatch):
    """Some versions of typer say all that was typed: 5,000 digits that are no number."""

    def refuses(**_):
        raise typer.BadParameter("7" * 5000, param_hint="--updates")

    monkeypatch.setattr("metabench.cli.main.app", refuses)
    said = refused(tmp_path, "run")
    assert said.startswith("metabench: Invalid value for --updates: 777")
    assert said.endswith("777 .... See `metabench --help`.")
