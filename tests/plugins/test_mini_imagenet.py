"""mini-ImageNet: the same images give the same tasks in every layout; a pickle can make arrays and nothing else."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites import safe_pickle
from metabench_plugins.suites.mini_imagenet import mini_imagenet
from metabench_plugins.suites.mini_imagenet_layouts import HELD_OUT
from tests.malformed import Evil, tries

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
SMALL = {"sample": True, "queries": 1, "filters": 4}
KINDS = {
    "train": [f"n9{number:07}" for number in range(64)],
    **{split: listed.split() for split, listed in HELD_OUT.items()},
}
SAMPLE = Path(os.environ.get("METABENCH_DATA", "")) / "mini-imagenet" / "mini-imagenet-sample.zip"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def images() -> dict[str, dict[str, np.ndarray]]:
    """By split and class two images: uint8 (2, 84, 84, 3), flat colours."""
    rng = np.random.default_rng(0)
    return {
        split: {name: np.tile(rng.integers(0, 255, (2, 1, 1, 3), np.uint8), (1, 84, 84, 1)) for name in names}
        for split, names in KINDS.items()
    }


def files(images, by_split: bool = True) -> dict[str, bytes]:
    """PNG files, the second image of a class first by name."""
    found = {}
    for split, classes in images.items():
        for name, pixels in classes.items():
            for number, each in enumerate(pixels[::-1]):
                content = io.BytesIO()
                Image.fromarray(each).save(content, "PNG")
                folder = f"{FOLDERS[split]}/{name}" if by_split else "images"
                found[f"{folder}/{name}{number:08}.png"] = content.getvalue()
    return found


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, each in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(each)
    return root


def layouts(root: Path, images) -> dict[str, Path]:
    """The same images in every layout that is read."""
    folder = write(root / "folder", files(images))
    with zipfile.ZipFile(root / "mini.zip", "w") as archive:
        for name, content in files(images).items():
            archive.writestr(f"top/{name}", content)
    tables = files(images, by_split=False)
    for split, classes in images.items():
        rows = [f"{name}{number:08}.png,{name}" for name in classes for number in range(2)]
        tables[f"{FOLDERS[split]}.csv"] = "\n".join(["filename,label", *rows]).encode()
    pickles = {}
    for protocol, (split, classes) in zip((2, 4, 5), images.items()):
        places = {name: [2 * place, 2 * place + 1] for place, name in enumerate(classes)}
        held = {"image_data": np.concatenate(list(classes.values())), "class_dict": places}
        pickles[f"mini-imagenet-cache-{split}.pkl"] = pickle.dumps(held, protocol)
    return {
        "folder": folder,
        "zip": root / "mini.zip",
        "csv": write(root / "csv", tables),
        "pickles": write(root / "pickles", pickles),
    }


def test_every_layout_gives_the_same_tasks(tmp_path, images):
    digests, tasks = set(), []
    for path in layouts(tmp_path, images).values():
        suite = mini_imagenet(path=str(path), **SMALL)
        assert [len(suite.groups(split)) for split in KINDS] == [64, 16, 20]
        assert "is a sample of mini-ImageNet, 200 of 60,000 images" in suite.notes()[0]
        digests.add(suite.digest())
        tasks.append(suite.sample("test", 4, random_generator("mini")))
    assert len(digests) == 1
    assert all(torch.equal(tasks[0].support.x, each.support.x) for each in tasks)
    assert all(torch.equal(tasks[0].query.x, each.query.x) for each in tasks)
    assert suite.model()(tasks[0].support.x[0]).shape == (5, 5)


def refused(path: Path, **parameters) -> str:
    with pytest.raises(DataError) as caught:
        mini_imagenet(path=str(path), **{**SMALL, **parameters}).prepare()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_part_is_not_called_mini_imagenet(tmp_path, images):
    path = write(tmp_path / "folder", files(images))
    assert "has 200 images of 100 classes, where mini-ImageNet has 60,000 of 100" in refused(path, sample=False)


def test_faults_are_named(tmp_path, images):
    assert "Put one below METABENCH_DATA (--data) as 'mini-imagenet'" in refused(tmp_path / "none")
    moved = files(images)
    moved["train/n01930112/0.png"] = moved.pop("test/n01930112/n0193011200000000.png")
    assert "'train/n01930112/0.png' has the class 'n01930112' in train: by Ravi's it is one of test" in refused(
        write(tmp_path / "moved", moved)
    )
    table = write(tmp_path / "csv", {"train.csv": b"filename,label\nx.jpg,n90000000\n"})
    assert "row 2 of 'train.csv' names 'x.jpg', which is not there" in refused(table)
    twice = files(images, by_split=False) | {
        "test.csv": b"filename,label\n" + b"n0193011200000000.png,n01930112\n" * 2
    }
    assert "row 3 of 'test.csv' names 'n0193011200000000.png' again" in refused(write(tmp_path / "twice", twice))
    held = pickle.dumps({"image_data": np.zeros((2, 3, 84, 84), np.uint8), "class_dict": {}})
    assert "holds no image_data of uint8 (images, 84, 84, 3)" in refused(write(tmp_path / "p", {"train.pkl": held}))


EVIL = [
    b"cos\nsystem\n(S'touch evil'\ntR.",
    b"c__builtin__\neval\n(S'1'\ntR.",
    b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'dump'\ntR.",
    b"c_codecs\nencode\n(Vx\nVbz2\ntR.",
    b"cnumpy\ndtype\n(S'O8'\ntR.",
    b"cnumpy\nload\n(S'x'\ntR.",
    b"cmetabench_plugins.suites.safe_pickle\nUnpickler\n.",
]


@pytest.mark.parametrize("content", EVIL)
def test_a_malicious_pickle_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the pickle is refused: it (asks for|holds an array of)"):
        safe_pickle.load(content)
    for protocol in range(6):
        with pytest.raises(ValueError, match="the pickle is refused: it asks for posix.mkdir"):
            safe_pickle.load(pickle.dumps({"image_data": Evil(str(tmp_path / "evil"))}, protocol))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "train.pkl").write_bytes(content)
    assert "the pickle is refused" in refused(tmp_path / "m")


@tries(30)
@given(
    st.sampled_from(["u1", "i8", "f4", ">i4", "?", "S3", "U2"]), st.integers(0, 5), st.booleans(),
    st.lists(st.integers(-5, 5) | st.text(max_size=3)),
)  # fmt: skip
def test_arrays_and_plain_values_come_back(dtype, size, fortran, values):
    array = np.array(np.arange(size * 2).reshape(size, 2), dtype, order="F" if fortran else "C")
    held = {"a": array, "values": values, "nested": [(array, 1.5), {"b": np.float32(2)}]}
    for protocol in range(6):
        back = safe_pickle.load(pickle.dumps(held, protocol))
        assert back["values"] == values
        for each in (back["a"], back["nested"][0][0]):
            assert each.dtype == array.dtype
            np.testing.assert_array_equal(each, array)
        assert back["nested"][1]["b"] == 2


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the sample is not below METABENCH_DATA")
@pytest.mark.slow
def test_the_sample():
    suite = mini_imagenet(path=str(SAMPLE), sample=True)
    assert [len(suite.groups(split)) for split in KINDS] == [64, 16, 20]
    assert suite.digest() == "252f4cbfb6264ae0"


@pytest.mark.slow
def test_the_kit_passes(tmp_path, images, registry):
    results = check_suite(
        SuiteCase(
            mini_imagenet(path=str(write(tmp_path / "folder", files(images))), **SMALL), "mini-imagenet", registry
        )
    )
    assert [result for result in results if result.verdict == "failed"] == []
