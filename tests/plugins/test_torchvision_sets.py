"""Data sets of torchvision as suites: on tiny files of the official layout, and by what torchvision has."""

from __future__ import annotations

import inspect
import struct

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites.torchvision_sets import DATASETS, torchvision

datasets = pytest.importorskip("torchvision.datasets")


@pytest.fixture
def kmnist(tmp_path, monkeypatch):
    """KMNIST's four files below METABENCH_DATA, 4 images of each class; an image says its class."""
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABENCH_OFFLINE", "1")
    raw = tmp_path / "torchvision" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, each in (("train", 3), ("t10k", 1)):
        labels = np.tile(np.arange(10), each).astype(np.uint8)
        pixels = np.tile((20 * labels)[:, None, None], (1, 28, 28))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, len(labels)) + labels.tobytes())
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes())


def test_all_parts_are_pooled_and_the_classes_split(kmnist):
    suite = torchvision(dataset="KMNIST", queries=3, size=16, filters=2)
    groups = [suite.groups(split) for split in ("train", "validation", "test")]
    assert list(map(len, groups)) == [6, 2, 2]
    assert frozenset.union(*groups) == set(datasets.KMNIST.classes)
    task = suite.sample("train", 3, random_generator("kmnist"))
    assert task.query.x.shape == (3, 6, 1, 16, 16)
    shades = task.query.x.mean((2, 3, 4))
    assert torch.equal(shades[:, 0], shades[:, 2]), "points of one class are alike here"
    assert suite.model()(task.query.x[0]).shape == (6, 2)
    again = torchvision(dataset="KMNIST", queries=3, size=16, filters=2)
    assert again.digest() == suite.digest()


def test_what_is_not_there_is_one_line(kmnist):
    with pytest.raises(DataError, match=r"^Suite 'torchvision': SVHN cannot be used \(RuntimeError: Data"):
        torchvision(dataset="SVHN").prepare()


@pytest.mark.parametrize("name", DATASETS)
def test_torchvision_has_it_and_takes_what_its_parts_are_made_by(name):
    taken = inspect.signature(getattr(datasets, name)).parameters
    assert {"root", "download", *DATASETS[name].parts[0]} <= taken.keys()


def test_the_kit_passes(kmnist, registry):
    made = torchvision(dataset="KMNIST", queries=3, size=16, filters=2)
    alike = {"query-apart": "the images of a class are all alike here"}
    results = check_suite(SuiteCase(made, "torchvision", registry), alike)
    assert [result for result in results if result.verdict == "failed"] == []
