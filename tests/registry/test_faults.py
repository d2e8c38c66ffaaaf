"""The plugins of tests/data/faults are of this edition: they load, are registered, and make what they should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metabench.api import Algorithm, InnerLoop, Suite
from metabench.engine.problem import build_problem
from metabench.registry.discovery import load_registry
from metabench.testing.toy_suites import lines

FOLDER = Path(__file__).resolve().parents[1] / "data" / "faults"
FILES = sorted(FOLDER.glob("*.py"))
ROWS = re.findall(
    r"^\| `(\w+\.py)` \| (?:suite|algorithms?) (.*?) \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M
)


def test_the_page_names_every_file():
    assert [name for name, _ in sorted(ROWS)] == [file.name for file in FILES]


@pytest.mark.parametrize(("name", "registered"), ROWS)
def test_each_is_registered_with_its_parameters_explained(name, registered):
    registry = load_registry((str(FOLDER / name),))
    assert not registry.broken
    entries = (*registry.algorithms.values(), *registry.suites.values())
    mine = [entry for entry in entries if entry.plugin == Path(name).stem]
    assert [entry.name for entry in mine] == re.findall(r"`([\w-]+)`", registered)
    for entry in mine:
        assert entry.parameters
        assert all(parameter.help for parameter in entry.parameters.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_makes_what_its_hook_promises(file):
    registry = load_registry((str(file),))
    for entry in registry.algorithms.values():
        if entry.plugin == file.stem:
            made = entry.factory(build_problem(lines(), 0))
            assert isinstance(made.inner, InnerLoop) if isinstance(made, Algorithm) else made.trainable
    for entry in registry.suites.values():
        if entry.plugin == file.stem:
            assert isinstance(entry.factory(), Suite)
