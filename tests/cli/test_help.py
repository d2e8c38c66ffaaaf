"""--help names exactly the options that a command takes."""

from __future__ import annotations

import re

import pytest

from metabench.cli.main import app
from metabench.experiments.options import rows

COMMANDS = sorted(info.name or info.callback.__name__ for info in app.registered_commands if info.callback)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_options_of_the_table(here, command):
    result = here(command, "--help")
    assert result.returncode == 0
    shown = set(re.findall(r"│ (--[a-z-]+)", result.stdout))
    for row in rows():
        flag = row.option.flag or "--" + row.name.replace("_", "-")
        if command in row.option.commands.split():
            assert flag in shown
        elif row.name not in (
            "out",
            "jobs",
            "seeds",
            "algos",
            "protocol",
        ):  # other commands have options of these names that are theirs
            assert flag not in shown


def test_every_command_in_the_table_exists():
    assert {name for row in rows() for name in row.option.commands.split()} <= set(COMMANDS)
