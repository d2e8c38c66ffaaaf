"""Data sets of torch's kind as suites."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from metabench.api import DataError, dataset_suite
from metabench.engine.seeds import random_generator

SPLITS = ("train", "validation", "test")


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


def pairs(classes: range, each: int = 4, kind: str = "tensor"):
    """Images whose every pixel is their class."""
    labels = torch.arange(classes.start, classes.stop).repeat(each)
    pixels = labels.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).clone()
    if kind == "pil":
        return [(Image.fromarray(x.permute(1, 2, 0).numpy()), int(y)) for x, y in zip(pixels, labels)]
    return TensorDataset(pixels.float() if kind == "float" else pixels, labels)


@pytest.mark.parametrize(("kind", "scale"), [("tensor", 255), ("float", 1), ("pil", 255)])
def test_three_data_sets_are_the_splits(kind, scale):
    given = [pairs(classes, kind=kind) for classes in (range(5), range(5, 8), range(8, 10))]
    suite = dataset_suite(*given, model=model, ways=2, queries=2)
    assert [len(suite.groups(split)) for split in SPLITS] == [5, 3, 2]
    tasks = suite.sample("validation", 20, random_generator("d"))
    number = (tasks.query.x * scale).round().long()[:, :, 0, 0, 0]
    assert set(number.unique().tolist()) == {5, 6, 7}
    assert torch.equal(number[:, :, None] == number[:, None], tasks.query.y[:, :, None] == tasks.query.y[:, None])
    assert suite.model()(tasks.support.x[0]).shape == (2, 2)
    assert suite.pool().classes == 5


def test_one_data_set_is_split_by_its_classes_names():
    data = pairs(range(20))
    data.classes = [f"kind {number}" for number in range(20)]
    suite = dataset_suite(lambda: data, model=model, ways=2, queries=2)
    groups = [suite.groups(split) for split in SPLITS]
    assert [len(group) for group in groups] == [12, 4, 4]
    assert frozenset.union(*groups) == set(data.classes)


def test_numbers_of_their_own_are_told_apart():
    given = [pairs(range(5))] * 3
    together, apart = (
        dataset_suite(*given, model=model, ways=2, queries=2, own_numbers=own) for own in (False, True)
    )
    assert together.groups("train") == together.groups("test")  # which a run refuses
    assert not apart.groups("train") & apart.groups("test")


def test_faults_are_named():
    with pytest.raises(ValueError, match="give a data set for each of train, validation and test, or one for all"):
        dataset_suite(pairs(range(5)), pairs(range(5)), model=model)
    mixed = [(torch.zeros(3, 2, 2), 0), (torch.zeros(3, 2, 3), 0)]
    with pytest.raises(ValueError, match=r"image 1 has the shape \(3, 2, 3\), the first \(3, 2, 2\)"):
        dataset_suite(mixed, mixed, mixed, model=model).prepare()
    few = [*pairs(range(3), each=3), (torch.zeros(3, 2, 2, dtype=torch.uint8), torch.tensor(3))]
    with pytest.raises(DataError, match=r"Suite 'mine': .* class '3' has 1 images"):
        dataset_suite(few, few, few, model=model, ways=2, queries=2, name="mine").prepare()


@pytest.mark.slow  # it imports learn2learn
def test_learn2learn_s_data_sets_fit():
    l2l = pytest.importorskip("learn2learn")
    data = l2l.data.MetaDataset(pairs(range(20), kind="float"))
    assert dataset_suite(data, model=model, ways=2, queries=2).pool().classes == 12
