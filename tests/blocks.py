"""The code blocks of a page in markdown, and its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), flags=re.S | re.M)


def commands(text: str) -> list[list[str]]:
    """The words of each `metabench` command in a block of shell, without its first."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("metabench ")]


def on_few_tasks(words: list[str]) -> list[str]:
    """A command as it stands; one that runs trials scores them on fewer tasks, on which its end does not depend."""
    few = ["--validation-tasks", "10", "--test-tasks", "30"]
    return [*words, *(few if words[0] == "run" and "--test-tasks" not in words else [])]
