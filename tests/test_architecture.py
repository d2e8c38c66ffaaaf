"""Who may import whom, nine rows; what must not need torch does not; the public names; no plugin is named inside."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "errors": set(),
    "units": set(),
    "processes": set(),
    "records": {"errors", "units"},
    "api": {"errors", "records"},
    "registry": {"errors", "records"},
    "engine": {"api", "registry", "records", "errors"},
    "experiments": {"engine", "registry", "records", "api", "errors", "units", "processes"},
    "report": {"registry", "records", "errors", "processes"},
    "testing": {"engine", "registry", "api", "records", "errors"},
}
"""`cli` and the two files above everything may import it all."""
EXECUTORS = {"records", "errors", "processes"}
"""What `experiments/executors/` may import, beside itself."""
PUBLIC = {
    "metabench": {"UserError", "figures", "load", "load_learner", "load_tasks", "reproduce", "run", "score"},
    "metabench.registry": {"load_registry"},
    "metabench.report": {"statistics", "write_report"},
    "metabench.testing": {"Result", "check_algorithm", "check_plugin", "check_suite", "explain", "kit"},
}
PLUGINS_IMPORT = {"metabench.api"}
TORCH_FREE = [
    "metabench",
    "metabench.records.store",
    "metabench.registry.discovery",
    "metabench.report",
    "metabench.cli.main",
    "metabench.experiments.experiment",
    "metabench.experiments.executors.local",
    "metabench.experiments.planning",
    "metabench.experiments.tuning.drive",
]


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, wherever in it, but for type checking only."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            names.update(deeper if node.module == "metabench" else [node.module])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return names


def packages_imported(path: Path) -> set[str]:
    """The packages of metabench that a file imports; `__init__` for metabench itself."""
    names = (name.split(".") for name in imported(path))
    return {[*name, "__init__"][1] for name in names if name[0] == "metabench"}


def package_files() -> dict[str, list[Path]]:
    """The files of each package, or the file itself, below metabench/."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "metabench").rglob("*.py")):
        found.setdefault(path.relative_to(ROOT / "metabench").parts[0].removesuffix(".py"), []).append(path)
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_follow_the_table(package):
    for path in package_files()[package]:
        assert packages_imported(path) - {package} <= MAY_IMPORT[package], path


def test_executors_know_records_errors_and_processes_alone():
    for path in (ROOT / "metabench/experiments/executors").glob("*.py"):
        ours = {name for name in imported(path) if name.startswith("metabench.")}
        outside = {name for name in ours if not name.startswith("metabench.experiments.executors")}
        assert {name.split(".")[1] for name in outside} <= EXECUTORS, path


def test_every_package_is_in_the_table():
    assert package_files().keys() == {*MAY_IMPORT, "cli", "__init__", "__main__"}


def test_packages_do_not_import_each_other_in_circles():
    known: set[str] = set()
    while ready := {name for name, ours in MAY_IMPORT.items() if ours <= known} - known:
        known |= ready
    assert known == MAY_IMPORT.keys()


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names(module):
    found = import_module(module)
    assert set(found.__all__) == PUBLIC[module]
    assert all(hasattr(found, name) for name in found.__all__)


def test_the_contract_is_what_plugins_import():
    for path in (ROOT / "plugins").rglob("*.py"):
        ours = {name for name in imported(path) if name.split(".")[0] == "metabench"}
        assert ours <= PLUGINS_IMPORT, path


def test_nothing_in_metabench_imports_the_plugins():
    for path in (ROOT / "metabench").rglob("*.py"):
        assert not any(name.startswith(("metabench_plugins", "learn2learn")) for name in imported(path)), path


@pytest.mark.parametrize("module", TORCH_FREE)
def test_imports_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


ENGLISH = {"nearest"}
"""Algorithms named by a plain word: errors name the nearest match, figures show the point nearest to the pointer."""


def whole_word(name: str) -> re.Pattern[str]:
    """A name as a whole word, in either case; also with its parts apart, as in R2-D2, meta_sgd, Proto Net."""
    letters = "[-_+ ]?".join(re.sub(r"[^a-z0-9]", "", name))
    return re.compile(rf"(?<![a-z0-9]){letters}(?![a-z0-9])", re.IGNORECASE)


def test_nothing_in_metabench_names_an_algorithm(registry):
    names = {name: whole_word(name) for name in registry.algorithms.keys() - ENGLISH}
    assert len(names) > 10
    assert all(whole_word(name).search(text) for name, text in (("metasgd", "Meta-SGD,"), ("maml++", "of MAML's")))
    files = [path for path in (ROOT / "metabench").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}: '{name}' in {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for name, pattern in names.items()
        if pattern.search(line)
    ]
    assert found == []


def names_its_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in an encoding that it names; bytes need none."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    words = {word.arg for word in call.keywords}
    if "encoding" in words:
        return True
    if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
        return any(isinstance(each, ast.Constant) and each.value == "utf-8" for each in call.args)
    return not ({"text", "universal_newlines"} & words and name in ("run", "Popen", "check_output"))


def test_encodings_are_named():
    """Beside ruff's PLW1514, which sees `open`, and a path only where it was made in sight."""
    files = [path for top in ("metabench", "plugins", "benchmarks", "tools") for path in (ROOT / top).rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            own = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_text"
            assert own or not isinstance(node, ast.Call) or names_its_encoding(node), f"{path}:{node.lineno}"
