"""What pyproject.toml lists by hand is what the folders hold."""

from __future__ import annotations

import tomllib
from pathlib import Path

import metabench

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_package_is_listed():
    found = {
        ".".join([name, *folder.parent.relative_to(ROOT / root).parts])
        for root, name in (("metabench", "metabench"), ("plugins", "metabench_plugins"))
        for folder in (ROOT / root).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_file_that_is_no_module_is_in_the_wheel():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / package.replace("metabench_plugins", "plugins").replace(".", "/")).glob(pattern)
    }
    kept = {path for root in ("metabench", "plugins") for path in (ROOT / root).rglob("*") if path.is_file()}
    assert {path for path in kept if path.suffix not in (".py", ".pyc")} <= shipped


def test_the_version_is_that_of_the_project():
    assert metabench.__version__ == PROJECT["project"]["version"]
    assert f"## {metabench.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
