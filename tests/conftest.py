"""What the tests share: a registry, small options, and the command line as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest
import torch
from filelock import FileLock

from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.registry.discovery import Registry, load_registry
from metabench.testing import other_processes
from tests import cli_helpers
from tests.malformed import GIVEN, finished
from tests.waiting import HANG
from tests.warm_processes import said_warmly

ENVIRONMENT = dict(os.environ)
LARGE = {
    "cifar-fs",
    "fc100",
    "mini-imagenet",
    "tiered-imagenet",
    "cub",
    "emnist",
    "features",
    "torchvision",
    "series",
}
"""Suites whose data are large, or the user's own: no test makes other processes read them."""
torch.set_num_threads(1)
# No test of ours is timed. The same examples in every run, so that no change fails for one that was always there:
# `pytest --hypothesis-profile search` looks for others, and prints how to see one again.
hypothesis.settings.register_profile("metabench", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("metabench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stays together on one worker comes first: the longest pieces of work, and none is left for the end."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The installed plugins."""
    return load_registry()


@pytest.fixture
def metabench(tmp_path):
    """`metabench(*words)` runs the command line as a process of its own, in an empty folder.

    For what a process is needed for: what worker processes print, signals, a clean `sys.modules`. Else see `here`.
    """

    def call(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from metabench.cli.main import main; main()", *words],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "160", **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=HANG,
        )

    return call


@pytest.fixture
def here(tmp_path):
    """Like `metabench`, in this process, which has torch already: trials alone get processes of their own."""

    def call(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return cli_helpers.call(cwd, *words, **environment)

    return call


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory) -> Path:
    """A folder of all workers of pytest."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def warm_processes(common_folder):
    """What the kit has other processes compute, those of tests.warm_processes do."""
    with patch.object(other_processes, "said_elsewhere", partial(said_warmly, common_folder)):
        yield


@pytest.fixture(scope="session")
def elsewhere(common_folder):
    """`elsewhere(kind)(name)` is what two other processes compute of an installed algorithm or suite.

    Both processes compute all of a kind, once for all workers of pytest. Of suites, those that download nothing, or
    whose data are there.
    """

    def computed(kind: str):
        path = common_folder / f"digests-{kind}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                installed = load_registry()
                unread = LARGE if "METABENCH_DATA" in ENVIRONMENT else {*LARGE, "omniglot"}
                names = sorted(installed.algorithms if kind == "algorithm" else installed.suites.keys() - unread)
                with patch.dict(os.environ, ENVIRONMENT, clear=True):  # whatever the test that asks first has set
                    path.write_text(json.dumps(other_processes.digests_elsewhere(kind, names, [])), encoding="utf-8")
        first, second = json.loads(path.read_text(encoding="utf-8"))
        return lambda name: lambda: (first[name], second[name])

    return computed


@pytest.fixture(scope="session")
def trials():
    """The four trials of `malformed.GIVEN`."""
    return plan_trials(read_options(None, GIVEN), load_registry())


@pytest.fixture(scope="session")
def folder(tmp_path_factory, trials) -> Path:
    """Finished results of `trials`, a directory, some files: refused commands leave all as it is."""
    root = tmp_path_factory.mktemp("malformed")
    finished(root / "results" / "r", trials)
    (root / "directory").mkdir()
    (root / "file.txt").write_text("a file", encoding="utf-8")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    return root
