"""One table of options: a row in it is an option of the commands, of their help, of Python and of TOML."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import metabench
from metabench.errors import UserError
from metabench.experiments.options import Options, rows
from metabench.experiments.read_options import read_options

PACKAGE = Path(metabench.__file__).parent
ROW = '    greeting: Annotated[str, Option("What it says first.", "run tune")] = "hello"\n'
USE = """
import sys
from pathlib import Path

import metabench
from metabench.cli.main import main
from metabench.experiments import experiment
from metabench.experiments.read_options import read_options

Path("bench.toml").write_text('greeting = "from a file"')
print(read_options(Path("bench.toml"), {}).greeting)


class Reached(Exception):
    pass


def reached(options):
    raise Reached(options.greeting)


experiment.experiment = reached
try:
    metabench.run(greeting="from Python")
except Reached as error:
    print(error)
for command in ("run", "worker"):
    sys.argv = ["metabench", command, "--help"]
    try:
        main()
    except SystemExit:
        pass
"""


def test_an_option_is_added_by_one_row(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "metabench", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "metabench/experiments/options.py"
    before = table.read_text("utf-8")
    first, rest = before.split("\n    def __post_init__", 1)
    table.write_text(f"{first}{ROW}\n    def __post_init__{rest}", "utf-8")
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "use.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "160"}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    said, run, worker = result.stdout.split("Usage:")
    assert said.split("\n")[:2] == ["from a file", "from Python"]
    assert any("--greeting" in line and "What it says first. Default: hello." in line for line in run.split("\n")), (
        run
    )
    assert "--greeting" not in worker


def test_python_knows_every_option():
    parameters = inspect.signature(metabench.run).parameters
    assert list(parameters) == ["config", *Options.__struct_fields__]
    assert all(f"\n    {row.name}: {row.help_for('run')}" in (metabench.run.__doc__ or "") for row in rows())


def test_every_row_is_explained_and_its_default_can_be_used():
    assert all(row.option.help.endswith((".", "...")) and row.option.commands for row in rows())
    assert read_options(None, {row.name: row.default for row in rows()}) == Options()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ({"algos": "a, b"}, {"algos": ["a", "b"]}),
        ({"suites": "s"}, {"suites": ["s"]}),
        ({"seeds": "2"}, {"seeds": 2}),
        ({"seeds": "0,4"}, {"seeds": [0, 4]}),
        ({"set": ["a.x=1", "a.y=text", "b.z=[1]"]}, {"set": {"a": {"x": 1, "y": "text"}, "b": {"z": [1]}}}),
        ({"set": {"a.x": 1, "a": {"y": 2}}}, {"set": {"a": {"x": 1, "y": 2}}}),
        ({"set": "a.x=1"}, {"set": {"a": {"x": 1}}}),
        ({"seeds": range(2, 4)}, {"seeds": [2, 3]}),
        ({"plugins": "a.py"}, {"plugins": ["a.py"]}),
        ({"plugins": [Path("a.py"), "b.py"]}, {"plugins": ["a.py", "b.py"]}),
        ({"out": Path("here")}, {"out": "here"}),
    ],
)
def test_python_takes_values_as_they_are_typed(typed, value):
    assert read_options(None, typed) == read_options(None, value)


@pytest.mark.parametrize("value", [{"a": 3}, {"a": 3, "a.x": 1}, {"a.x": 1, "a": 3}, {"a.": 1}, {3: 4}, 3, "a"])
def test_settings_that_are_no_tables_are_refused(value):
    with pytest.raises(UserError, match=r"^Cannot use option 'set': "):
        read_options(None, {"set": value})


def test_a_setting_by_hand_goes_before_that_of_the_file(tmp_path):
    (tmp_path / "bench.toml").write_text('algos = ["a"]\n[set.a]\nx = 1\ny = 1\n', encoding="utf-8")
    options = read_options(tmp_path / "bench.toml", {"set": {"a.x": 2}, "algos": "a,b"})
    assert options.set == {"a": {"x": 2, "y": 1}}
    assert options.algos == ("a", "b")
