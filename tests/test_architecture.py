"""Imports point one way, over the syntax trees; what must not need torch does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom up: a module imports from rows above its own only.
LAYERS = [
    {"errors", "files", "trees", "streams", "trials", "hookspecs", "units", "interrupts"},
    {"autodiff", "checkpoints", "data", "parameters"},
    {"store"},
    {"inner", "claims"},
    {"api", "report", "executors", "options"},
    {"problem", "outer", "registry", "measure", "recipes"},
    {"strategies"},
    {"compiled"},
    {"lift"},
    {"evaluate", "choice", "assembly", "examples", "resume"},
    {"engine", "planning"},
    {"work", "sofar"},
    {"testing", "experiment", "console", "upkeep", "gallery"},
    {"single", "verify", "watch", "templates", "tune"},
    {"commands"},
    {"", "cli"},
    {"__main__"},
]
ONLY = {
    "report": {"errors", "store", "trials"},
    "executors": {"checkpoints", "errors", "files", "trials"},
    "options": {"errors", "trials", "units"},
    "store": {"checkpoints", "errors", "files", "trials"},
    "claims": {"files", "store", "trials"},
}


def modules() -> list[tuple[str, Path]]:
    """(top name below metabench, file) of every module."""
    found = []
    for path in sorted((ROOT / "metabench").rglob("*.py")):
        parts = path.relative_to(ROOT / "metabench").with_suffix("").parts
        found.append(("" if parts == ("__init__",) else parts[0], path))
    return found


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

    visit(ast.parse(path.read_text()))
    return names


def rank(name: str) -> int:
    """The layer of a module."""
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: Path(str(value)).name)
def test_imports_point_down(name, path):
    ours = {other.split(".")[1] for other in imported(path) if other.startswith("metabench.")} - {name}
    assert {other for other in ours if rank(other) >= rank(name)} == set()
    if name in ONLY:
        assert ours <= ONLY[name]


def test_every_module_has_a_layer():
    assert {name for name, _ in modules()} == set().union(*LAYERS)


def test_nothing_in_metabench_imports_the_plugins():
    for _, path in modules():
        assert not any(name.startswith(("metabench_plugins", "learn2learn")) for name in imported(path)), path


ENGLISH = {"nearest"}
"""Algorithms named by a plain word: errors name the nearest match, figures show the point nearest to the pointer."""


def spelt(name: str) -> re.Pattern[str]:
    """A name anywhere in a text, in either case; as a word of its own also as R2-D2, meta_sgd, Proto Net are."""
    letters = re.sub(r"[^a-z0-9]", "", name)
    apart = "[-_+ ]?".join(letters)
    return re.compile(rf"{re.escape(name.rstrip('+'))}|(?<![a-z0-9]){apart}(?![a-z0-9])", re.IGNORECASE)


def test_nothing_in_metabench_names_an_algorithm(registry):
    names = {name: spelt(name) for name in registry.algorithms.keys() - ENGLISH}
    assert len(names) > 10
    assert all(spelt(name).search(text) for name, text in (("metasgd", "Meta-SGD,"), ("maml++", "of MAML's")))
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


def test_plugins_import_the_contract_only():
    for path in (ROOT / "plugins").rglob("*.py"):
        ours = {name for name in imported(path) if name.split(".")[0] == "metabench"}
        assert ours <= {"metabench.api"}, path


@pytest.mark.parametrize(
    "module",
    [
        "metabench",
        "metabench.records.trials",
        "metabench.records.store",
        "metabench.report",
        "metabench.cli.main",
        "metabench.experiments.executors.local",
        "metabench.experiments.experiment",
    ],
)
def test_imports_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
