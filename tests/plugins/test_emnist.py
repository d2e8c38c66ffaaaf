"""EMNIST from IDX files made here, in the official layout: images stand transposed, and ink is light."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites.emnist import CLASSES, emnist

HERE = Path(os.environ.get("METABENCH_DATA", "")) / "emnist" / "emnist-byclass-test-labels-idx1-ubyte.gz"


def packed(array: np.ndarray) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def write(root: Path, part: str, labels: np.ndarray) -> None:
    """Images whose pixel in row 1, column 2 is the class, as an eye sees them."""
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, 2, 1] = labels
    images[:, 9, 9] = np.arange(len(labels))  # no two are the same
    (root / "emnist").mkdir(exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        (root / "emnist" / f"emnist-byclass-{part}-{name}-ubyte.gz").write_bytes(packed(array))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    write(tmp_path, "test", np.random.default_rng(0).permutation(np.repeat(np.arange(62), 3)))
    return tmp_path


def test_classes_and_the_splits(data):
    three, cross = (emnist(queries=2, split=split, filters=4) for split in ("three-way", "cross-char"))
    groups = {split: three.groups(split) for split in ("train", "validation", "test")}
    assert [len(names) for names in groups.values()] == [21, 10, 31]
    assert frozenset.union(*groups.values()) == set(CLASSES)
    assert cross.groups("test") == groups["test"] == {CLASSES[number] for number in range(1, 62, 2)}
    assert cross.groups("validation") == groups["train"] | groups["validation"]
    with pytest.raises(ValueError, match=r"no split 'train'\. Available: validation, test"):
        cross.groups("train")
    one, other = (suite.sample("test", 3, random_generator("same")) for suite in (three, cross))
    assert torch.equal(one.support.x, other.support.x)


def test_images_stand_as_an_eye_sees_them_and_labels_are_theirs(data):
    tasks = emnist(queries=2).sample("test", 20, random_generator("upright"))
    for batch in tasks:
        number = (batch.x[:, :, 0, 1, 2] * 255).round().long()
        assert (number % 2 == 1).all()
        same = number[:, :, None] == number[:, None]
        assert torch.equal(same, batch.y[:, :, None] == batch.y[:, None])


def test_a_sample_says_so_and_parts_are_pooled(data):
    assert "186 images of EMNIST's 116,323: a sample" in emnist(queries=2).notes()[0]
    write(data, "train", np.repeat(np.arange(62), 2))
    suite = emnist(queries=4, part="all")
    assert "310 images of EMNIST's 814,255" in suite.notes()[0]
    assert suite.digest() != emnist(queries=2).digest()


def test_damaged_files_are_named(data):
    path = data / "emnist" / "emnist-byclass-test-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    for content, message in (
        (good[:-20], "the labels of 'test' cannot be read"),
        (packed(np.zeros((4, 4), np.uint8)), "its header says 0x802"),
        (packed(np.full(186, 70)), "its labels are not the 62 of EMNIST by class"),
        (packed(np.arange(62)), "62 labels, but images (186, 28, 28)"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match="^Suite 'emnist': ") as caught:
            emnist(queries=2).prepare()
        assert message in str(caught.value)


@pytest.mark.skipif(not HERE.is_file(), reason="no sample below METABENCH_DATA")
def test_the_sample():
    suite = emnist()
    assert "19,837 images of EMNIST's 116,323" in suite.notes()[0]
    x = suite.sample("test", 4, random_generator("ink")).support.x
    assert 0.05 < x.mean() < 0.5  # ink is light on a dark ground, as in Omniglot here


@pytest.mark.slow
def test_the_kit_passes(data, registry):
    results = check_suite(SuiteCase(emnist(queries=2, filters=4), "emnist", registry))
    assert [result for result in results if result.verdict == "failed"] == []
