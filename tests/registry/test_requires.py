"""A plugin that needs a module which is not installed: said where it is listed, and refused before a run begins."""

from __future__ import annotations

import pytest

PEER = """
from metabench.api import hookimpl, requires

@requires("a_module_that_is_not_there", "pip install 'somebody[peer]'")
def peer(problem, *, inner_lr: float = 0.01):
    \"\"\"Somebody's own.\"\"\"
    import a_module_that_is_not_there

@hookimpl
def register_algorithms():
    return {"peer": peer}
"""


@pytest.fixture
def peer(tmp_path):
    """A plugin file whose module is missing."""
    file = tmp_path / "peer.py"
    file.write_text(PEER, encoding="utf-8")
    return str(file)


def test_it_is_listed_with_the_command_that_installs_it(here, peer):
    listed = here("list", "--plugin", peer).stdout
    assert "Not usable: a_module_that_is_not_there is not installed: pip install 'somebody[peer]'" in listed
    assert "a_module_that_is_not_there" in here("plugins", "--plugin", peer).stdout  # and the rest below it


@pytest.mark.parametrize("command", [("run", "--suites", "sinusoid", "--algos", "peer"), ("check", "peer")])
def test_asking_for_it_is_one_line(here, peer, tmp_path, command):
    result = here(*command, "--plugin", peer)
    assert result.returncode == 2
    assert result.stderr == (
        "metabench: Cannot use algorithm 'peer': a_module_that_is_not_there is not installed: "
        "pip install 'somebody[peer]'\n"
    )
    assert not (tmp_path / "results").exists()


def test_what_is_installed_is_used(here, tmp_path):
    file = tmp_path / "peer.py"
    file.write_text(PEER.replace("a_module_that_is_not_there", "json"), encoding="utf-8")
    assert "not installed" not in here("list", "--plugin", str(file)).stdout


def test_of_several_modules_the_one_that_is_missing_is_named(here, tmp_path):
    file = tmp_path / "peer.py"
    several = PEER.replace('requires("a_module_that_is_not_there"', 'requires("json a_module_that_is_not_there"')
    file.write_text(several, encoding="utf-8")
    assert "Not usable: a_module_that_is_not_there is not installed" in here("list", "--plugin", str(file)).stdout
