"""The command line, called in this process: what came of it, and that a refused command changes nothing."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import typer

from metabench.cli.main import main

COMMAND = cache(typer.main.get_command)
"""What typer makes of our functions: the same for every call, and a quarter of the time of one that is refused."""


def call(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, in this process; an exception that leaves it is a traceback, and fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(folder),
        patch.object(sys, "argv", ["metabench", *words]),
        patch.dict(os.environ, {"COLUMNS": "160", **environment}),
        patch.object(typer.main, "get_command", COMMAND),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(action="ignore"),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return subprocess.CompletedProcess(words, ended.value.code or 0, out.getvalue(), err.getvalue())


def outside(**environment: str) -> dict[str, str]:
    """The environment without what is said to the pytest that runs here, for one that a test starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | environment


def fingerprint(folder: Path) -> str:
    """Of every name and every byte in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts:  # Python's own, beside a plugin that was loaded
            continue
        digest.update(f"{path.relative_to(folder)} {path.is_symlink()} {path.is_file()}\n".encode(errors="replace"))
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def refused(folder: Path, *words: str, also: tuple[int, ...] = ()) -> str:
    """The one line on stderr of a command that must change nothing; `also`: further exit codes that may be."""
    before = fingerprint(folder)
    result = call(folder, *words)
    assert fingerprint(folder) == before
    assert result.returncode in (2, *also), result
    assert "Traceback" not in result.stdout + result.stderr
    if result.returncode != 2:
        return ""
    assert result.stderr.startswith("metabench: "), result
    assert result.stderr.count("\n") == 1, result
    assert result.stderr.endswith("\n")
    assert len(result.stderr) < 5000
    return result.stderr.strip()
