"""What the tests share: a registry, small options, and the command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

from metabench.experiments.options import read_options
from metabench.experiments.planning import plan
from metabench.registry.discovery import Registry, load_registry
from tests.malformed import GIVEN, finished

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
hypothesis.settings.register_profile("metabench", deadline=None)  # no test of ours is timed
hypothesis.settings.load_profile("metabench")


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The installed plugins."""
    return load_registry()


@pytest.fixture
def metabench(tmp_path):
    """`metabench(*words)` runs the command line in an empty folder; its stdout, stderr and exit code."""

    def call(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from metabench.cli.main import main; main()", *words],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "160", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Like `metabench`, in this process: quicker, for calls that end before a trial starts."""
    from metabench.cli.main import main

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["metabench", *words])
        monkeypatch.setattr(os, "environ", os.environ.copy())
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return subprocess.CompletedProcess(words, ended.value.code or 0, seen.out, seen.err)

    return call


@pytest.fixture(scope="session")
def trials():
    """The four trials of `malformed.GIVEN`."""
    return plan(read_options(None, GIVEN), load_registry())


@pytest.fixture(scope="session")
def folder(tmp_path_factory, trials) -> Path:
    """Finished results of `trials`, a directory, some files: refused commands leave all as it is."""
    root = tmp_path_factory.mktemp("malformed")
    finished(root / "results" / "r", trials)
    (root / "directory").mkdir()
    (root / "file.txt").write_text("a file")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    return root
