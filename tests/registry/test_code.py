"""The code of a plugin: what counts for its digest, and that it runs as it was read."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from metabench.records.plugin_files import PluginFile
from metabench.registry.code import digest, read_package, read_plugin
from metabench.registry.discovery import load_registry

PLUGIN = '''
"""A plugin."""

from metabench.api import hookimpl

import helper_beside
from package_beside.part import RATE


def mine(problem, *, inner_lr: float = 0.1):
    """Mine.

    Args:
        inner_lr: A rate.
    """
    return helper_beside.NAME, RATE


@hookimpl
def register_algorithms():
    return {"mine": mine}
'''
FILES = {
    "plug.py": PLUGIN,
    "helper_beside.py": "NAME = 'as it was'\n",
    "package_beside/__init__.py": "",
    "package_beside/part.py": "from .deeper import RATE\n",
    "package_beside/deeper.py": "RATE = 1\n",
    "package_beside/not_imported.py": "X = 1\n",
    "unrelated.py": "X = 1\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    yield tmp_path
    for name in ("helper_beside", "package_beside", "package_beside.part", "package_beside.deeper"):
        sys.modules.pop(name, None)


def digest_of(file: PluginFile) -> str:
    return digest(file.source or b"", file.modules)


def test_what_a_plugin_imports_of_its_folder_is_read_with_it(folder):
    names = [module.name for module in read_plugin(folder / "plug.py").modules]
    assert sorted(names) == ["helper_beside", "package_beside", "package_beside.deeper", "package_beside.part"]


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("plug.py", '"""A plugin."""', '"""Another text."""', False),
        ("plug.py", "    return helper", "    # a comment\n\n    return   helper", False),
        ("plug.py", "        inner_lr: A rate.", "        inner_lr: A step size.", False),
        ("plug.py", "0.1", "0.2", True),
        ("helper_beside.py", "NAME", '"""Of what follows."""\nNAME', False),
        ("helper_beside.py", "as it was", "as it is", True),
        ("package_beside/deeper.py", "1", "1.0", True),
        ("package_beside/__init__.py", "", "import os\n", True),
        ("package_beside/not_imported.py", "1", "2", False),
        ("unrelated.py", "1", "2", False),
    ],
)
def test_docstrings_and_comments_do_not_count_and_all_else_that_is_imported_does(folder, name, old, new, counts):
    before = digest_of(read_plugin(folder / "plug.py"))
    (folder / name).write_text(FILES[name].replace(old, new, 1), "utf-8")
    assert (digest_of(read_plugin(folder / "plug.py")) != before) == counts


def test_the_place_of_a_plugin_does_not_count(folder, tmp_path_factory):
    there = tmp_path_factory.mktemp("there")
    for name, text in FILES.items():
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_text(text, "utf-8")
    assert digest_of(read_plugin(there / "plug.py")) == digest_of(read_plugin(folder / "plug.py"))


@pytest.mark.parametrize("also", [(), ("helper_beside.py",), ("plug.py",)])
def test_a_plugin_runs_as_it_was_read_whatever_was_done_since(folder, also):
    file = read_plugin(folder / "plug.py")
    (folder / "plug.py").write_text("raise SystemExit", "utf-8")
    (folder / "helper_beside.py").write_text("NAME = 'other'", "utf-8")
    for name in also:
        (folder / name).unlink()
    registry = load_registry((file,))
    assert registry.get("algorithm", "mine").factory(None) == ("as it was", 1)
    assert registry.files == (file,)
    assert registry.digest("algorithm", "mine") == digest_of(file)


def test_a_plugin_that_was_edited_is_read_anew_in_the_same_process(folder):
    load_registry((str(folder / "plug.py"),))
    (folder / "helper_beside.py").write_text("NAME = 'edited'", "utf-8")
    again = load_registry((str(folder / "plug.py"),))
    assert again.get("algorithm", "mine").factory(None)[0] == "edited"


def test_a_module_that_python_finds_elsewhere_is_not_taken_from_the_folder(folder):
    (folder / "json.py").write_text("raise RuntimeError", "utf-8")
    (folder / "plug.py").write_text("import json\n" + PLUGIN, "utf-8")
    assert not load_registry((str(folder / "plug.py"),)).broken


def test_an_installed_plugin_counts_with_its_package_alone(registry):
    digests = {name: registry.digest("algorithm", name) for name in registry.algorithms}
    assert all(len(digest) == 12 for digest in digests.values())
    assert registry.digest("suite", "nobody") == ""
    path = Path(sys.modules[registry.get("suite", "sinusoid").factory.__module__].__file__ or "")
    _, others = read_package("metabench_plugins.suites.sinusoid", path)
    tops = {module.name.split(".")[0] for module in others}
    imported = {
        node.module for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
    }
    assert tops == {name.split(".")[0] for name in imported if name and name.startswith("metabench_plugins")}
