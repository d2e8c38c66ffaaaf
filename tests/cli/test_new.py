"""metabench new: what it writes passes the kit as it stands, and installs like a stranger's package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from metabench.registry.discovery import load_registry
from metabench.testing import check_plugin
from metabench.testing.conformance import ALGORITHM
from tests import cli_helpers
from tests.warm_processes import run_warmly

pytestmark = pytest.mark.xdist_group("a stranger's package")

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "metabench" / "cli" / "templates"


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["algorithm", "suite"])
def test_a_new_file_passes_the_kit(here, tmp_path, kind):
    result = here("new", kind, "sign-test")
    assert not result.returncode
    assert written(tmp_path) == {"sign_test.py"}
    assert "metabench check sign-test --plugin sign_test.py" in result.stdout
    registry = load_registry((str(tmp_path / "sign_test.py"),))
    verdicts = {result.verdict for result in check_plugin(registry, "sign-test")}
    assert verdicts == {"passed"}
    text = (tmp_path / "sign_test.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 45
    assert text.count("CHANGE") >= 3
    assert "plugin" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("algorithm", "maml"), "metabench: The name 'maml' is taken: plugin 'maml' registers that algorithm."),
        (
            ("algorithm", "sinusoid"),
            "metabench: The name 'sinusoid' is taken: plugin 'sinusoid' registers that suite.",
        ),
        (("algorithm", "lambda"), "metabench: 'lambda' cannot be a plugin's name: 'lambda' means something else"),
        (("suite", "random"), "metabench: 'random' cannot be a plugin's name: 'random' means something else"),
        (("suite", "scipy"), "metabench: 'scipy' cannot be a plugin's name: 'scipy' means something else"),
        (("algorithm", "grad"), "metabench: 'grad' cannot be a plugin's name: 'grad' means something else"),
        (("suite", "int"), "metabench: 'int' cannot be a plugin's name: 'int' means something else"),
        (("suite", "mine", "--out", "a" * 300), "metabench: Cannot write 'aaa"),
        (("suite", "My"), "metabench: 'My' cannot be a plugin's name: it begins with a lower-case letter"),
        (("suite", "4ways"), "metabench: '4ways' cannot be a plugin's name: it begins with a lower-case letter"),
        (("suite", "../x"), "metabench: '../x' cannot be a plugin's name: it begins with a lower-case letter"),
        (("model", "mine"), "metabench: There is an algorithm or a suite to make, not 'model'"),
        (("suite", "mine", "--out", "/proc/none"), "metabench: Cannot write '/proc/none/mine.py': "),
    ],
)
def test_what_cannot_be_is_one_line(here, tmp_path, words, message):
    result = here("new", *words)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert written(tmp_path) == set()


def test_nothing_is_overwritten(here, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine", encoding="utf-8")
    result = here("new", "algorithm", "mine", "--package")
    assert result.returncode == 2
    assert result.stderr.startswith("metabench: 'mine/README.md' is there already; nothing was written.")
    assert written(tmp_path) == {"mine/README.md"}
    assert (tmp_path / "mine" / "README.md").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["two++steps", "plain", "ends+"])
def test_the_metadata_of_a_package_can_be_read(here, tmp_path, name):
    assert not here("new", "suite", name, "--package").returncode
    project = tomllib.loads((tmp_path / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.fullmatch(r"[a-z0-9](-?[a-z0-9])*", project["name"])
    ((key, module),) = project["entry-points"]["metabench"].items()
    assert key == name
    assert (tmp_path / name / f"{module}.py").is_file()


def test_the_templates_are_linted_like_our_own_code():
    for name in ("algorithm.py", "suite.py"):
        assert "@hookimpl" in (TEMPLATES / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, common_folder):
    """`metabench`, or another console script, in an environment in which pip installed what `metabench new` wrote."""
    folder = tmp_path_factory.mktemp("stranger")
    assert not cli_helpers.call(folder, "new", "algorithm", "far-away", "--package").returncode
    site = folder / "site"
    install = ("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    words = [sys.executable, "-m", *install, str(folder / "far-away")]
    done = subprocess.run(words, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr

    def call(*words: str, script: str = "metabench.cli.main:main") -> subprocess.CompletedProcess[str]:
        environment = cli_helpers.outside(PYTHONPATH=str(site), COLUMNS="160")
        return run_warmly(common_folder, script, list(words), folder, environment)

    return folder, call


@pytest.mark.slow
def test_a_stranger_is_found(stranger):
    _, call = stranger
    assert "far-away" in call("list").stdout
    row = next(line for line in call("plugins").stdout.splitlines() if "far-away" in line)
    assert "metabench-far-away 0.1.0" in row
    assert "far_away" in row


@pytest.mark.slow
def test_a_strangers_own_tests_pass(stranger):
    _, call = stranger
    result = call("-q", "-p", "no:cacheprovider", "far-away/tests", script="pytest:console_main")
    assert result.returncode == 0, result.stdout
    assert f"{len(ALGORITHM)} passed" in result.stdout


@pytest.mark.slow
def test_a_stranger_is_run(stranger):
    folder, call = stranger
    size = "--updates 2 --validations 1 --validation-tasks 4 --test-tasks 6 --test-steps 1 --seeds 1".split()
    result = call("run", "--algos", "far-away", "--suites", "sinusoid", *size, "--out", "results")
    assert result.returncode == 0, result.stdout
    assert "far-away" in result.stdout
    record = next((folder / "results").glob("*/record.json")).read_text(encoding="utf-8")
    assert "metabench-far-away 0.1.0" in record
