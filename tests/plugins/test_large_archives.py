"""CUB and tieredImageNet, on tiny archives of the true layout: the real ones were never here."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites.cub import cub
from metabench_plugins.suites.tiered_imagenet import tiered_imagenet
from tests.malformed import Evil

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(color: tuple[int, ...], kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (12, 10), color).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """The official archive, with 2 images of each class, and the folder that it unpacks to."""
    root = tmp_path_factory.mktemp("birds")
    path = root / "CUB_200_2011.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(200):
            for each in range(2):
                body = picture((number, 255 * each, 0), "JPEG")
                name = f"CUB_200_2011/images/{number + 1:03}.Bird_{number}/Bird_{number}_{each:04}.jpg"
                info = tarfile.TarInfo(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
        archive.addfile(tarfile.TarInfo("attributes.txt"))
    with tarfile.open(path) as archive:
        archive.extractall(root, filter="data")
    return path


SMALL = {"sample": True, "queries": 1, "size": 16, "filters": 4}


@pytest.mark.parametrize(("split", "sizes"), [("100-50-50", (100, 50, 50)), ("140-30-30", (140, 30, 30))])
def test_cub_is_the_same_from_the_archive_and_unpacked(birds, split, sizes):
    packed = cub(path=str(birds), split=split, **SMALL)
    unpacked = cub(path=str(birds.with_suffix("")), split=split, **SMALL)
    assert tuple(len(packed.groups(each)) for each in SPLITS) == sizes
    tasks = [suite.sample("test", 3, random_generator("birds")) for suite in (packed, unpacked)]
    assert torch.equal(tasks[0].support.x, tasks[1].support.x)
    assert "is a sample of CUB, 400 of 11,788 images" in packed.notes()[0]
    assert packed.model()(tasks[0].support.x[0]).shape == (5, 5)


def test_of_cub_every_other_class_trains(birds):
    suite = cub(path=str(birds), **SMALL)
    assert {int(name[:3]) % 4 for name in suite.groups("validation")} == {2}
    assert {int(name[:3]) % 4 for name in suite.groups("test")} == {0}


def test_a_part_is_neither_called_cub_nor_tiered_imagenet(birds, tmp_path):
    with pytest.raises(DataError, match=r"it has 400 images, where CUB has 11,788; to use it as a sample say --set"):
        cub(path=str(birds)).prepare()
    with pytest.raises(DataError, match=r"Suite 'cub': .* get CUB_200_2011.tgz at https://data.caltech.edu"):
        cub(path=str(tmp_path / "none.tgz")).prepare()
    with pytest.raises(DataError, match="it has 10/10/10 images of 5/5/5 classes .* has 448,695/124,261/206,209 of"):
        tiered_imagenet(path=str(folders(tmp_path))).prepare()


def colours():
    """By split and class two colours."""
    rng = np.random.default_rng(0)
    return {
        split: {f"n{place}{number:07}": rng.integers(0, 255, (2, 3)).tolist() for number in range(5)}
        for place, split in enumerate(SPLITS)
    }


def folders(root):
    path = root / "tiered.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, classes in colours().items():
            for name, each in classes.items():
                for number, color in enumerate(each):
                    folder = "val" if split == "validation" else split
                    archive.writestr(f"top/{folder}/{name}/{number}.png", picture(tuple(color), "PNG"))
    return path


def pickles(root):
    (root / "pickles").mkdir()
    for split, classes in colours().items():
        short = "val" if split == "validation" else split
        images = [np.frombuffer(picture(tuple(c), "PNG"), np.uint8) for each in classes.values() for c in each]
        labels = {"label_specific": np.arange(5).repeat(2), "label_specific_str": list(classes)}
        (root / "pickles" / f"{short}_images_png.pkl").write_bytes(pickle.dumps(images, 2))
        (root / "pickles" / f"{short}_labels.pkl").write_bytes(pickle.dumps(labels, 2))
    return root / "pickles"


def test_tiered_imagenet_is_the_same_from_folders_and_from_pickles(tmp_path):
    given = {"sample": True, "queries": 1, "filters": 4}
    one, other = (tiered_imagenet(path=str(make(tmp_path)), **given) for make in (folders, pickles))
    assert [one.groups(split) for split in SPLITS] == [other.groups(split) for split in SPLITS]
    tasks = [suite.sample("train", 3, random_generator("tiered")) for suite in (one, other)]
    assert torch.equal(tasks[0].query.x, tasks[1].query.x)
    assert "is a sample of tieredImageNet" in other.notes()[0]


def test_a_pickle_of_tiered_imagenet_runs_nothing(tmp_path):
    path = pickles(tmp_path)
    (path / "val_images_png.pkl").write_bytes(pickle.dumps([Evil(str(tmp_path / "evil"))]))
    with pytest.raises(DataError, match="the pickle is refused: it asks for posix.mkdir"):
        tiered_imagenet(path=str(path), sample=True).prepare()
    assert not (tmp_path / "evil").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub", "tiered-imagenet"])
def test_the_kit_passes(birds, tmp_path, registry, name):
    made = (
        cub(path=str(birds), **SMALL)
        if name == "cub"
        else tiered_imagenet(path=str(folders(tmp_path)), sample=True, queries=1, filters=2)
    )
    results = check_suite(SuiteCase(made, name, registry))
    assert [result for result in results if result.verdict == "failed"] == []
