"""Names of algorithms and suites: folders and files are called by them, on Linux, macOS and Windows."""

from __future__ import annotations

import pytest

from metabench.records.trials import NAME


@pytest.mark.parametrize("name", ["maml", "maml++", "r2-d2", "x" * 40, "con-tasks", "conv", "com", "com10", "nulls"])
def test_legal(name):
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["con", "prn", "aux", "nul", "com1", "lpt9", "MAML", "a/b", "a.b", "a:b", "", "x" * 41]
)
def test_refused(name):
    assert not NAME.fullmatch(name)
