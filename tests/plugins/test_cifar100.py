"""CIFAR-FS and FC100: on the full archive where METABENCH_DATA holds it, and on damaged ones made here."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites import cifar100
from metabench_plugins.suites.backbones import RESNET12, RESNET12_NARROW, resnet12
from metabench_plugins.suites.cifar100 import CIFAR_FS, cifar_fs, fc100

SPLITS = ("train", "validation", "test")
HERE = Path(os.environ.get("METABENCH_DATA", "")) / "cifar100" / cifar100.NAME


def archive(path: Path, each: int, order: int = 0, **members: bytes) -> Path:
    """A small archive in the official layout: `each` images of each of 100 classes, five classes a superclass."""
    rng = np.random.default_rng(0)
    fine = np.arange(100).repeat(each).astype(np.uint8)
    rows = np.concatenate([(fine // 5)[:, None], fine[:, None], rng.integers(0, 255, (100 * each, 3072))], 1)
    rows = np.random.default_rng(order).permutation(rows.astype(np.uint8))
    held_out = [name for names in CIFAR_FS.values() for name in names.split()]
    names = [*held_out, *(f"other{number}" for number in range(100 - len(held_out)))]
    content = {
        "train.bin": rows[: 50 * each].tobytes(),
        "test.bin": rows[50 * each :].tobytes(),
        "fine_label_names.txt": "\n".join(names).encode(),
        "coarse_label_names.txt": "\n".join(f"group{number}" for number in range(20)).encode(),
        **{name.replace("_bin", ".bin"): each for name, each in members.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as file:
        for name, body in content.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return path


@pytest.fixture
def small(tmp_path, monkeypatch):
    """`small(order)` puts a small archive where it is looked for, and empties the cache."""
    monkeypatch.setattr(cifar100, "EACH", 6)
    monkeypatch.setattr(cifar100, "PARTS", {"train.bin": 300, "test.bin": 300})

    def put(order: int = 0, **members: bytes) -> None:
        monkeypatch.setenv("METABENCH_DATA", str(tmp_path / str(order)))
        monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / f"cache {order}"))
        archive(tmp_path / str(order) / "cifar100" / cifar100.NAME, 6, order, **members)

    return put


@pytest.mark.parametrize("factory", [cifar_fs, fc100])
def test_the_same_tasks_are_drawn_whatever_the_order_of_the_archive(small, factory):
    drawn = []
    for order in (0, 1):
        small(order)
        made = factory(queries=2, filters=4)
        drawn.append((made.digest(), made.sample("test", 3, random_generator("order")).support.x))
    assert drawn[0][0] == drawn[1][0]
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert drawn[0][1].shape == (3, 5, 3, 32, 32)
    assert made.model()(drawn[0][1][0]).shape == (5, 5)


def test_superclasses_of_fc100_are_apart_and_classes_of_both_are_counted(small):
    small()
    for factory, sizes in ((cifar_fs, (64, 16, 20)), (fc100, (60, 20, 20))):
        groups = [factory(queries=2).groups(split) for split in SPLITS]
        assert tuple(map(len, groups)) == sizes
        assert len(frozenset.union(*groups)) == 100
    data = cifar100.cifar100("fc100")
    coarse = dict(zip(data.fine, data.coarse_of))
    apart = [{coarse[name] for name in group} for group in groups]
    assert [len(each) for each in apart] == [12, 4, 4]


@pytest.mark.skipif(not HERE.is_file(), reason="the full archive is not below METABENCH_DATA")
def test_the_full_archive():
    data = cifar100.cifar100("cifar-fs")
    assert data.pixels.shape == (60_000, 3, 32, 32)
    assert data.digest == "861405c163b0269c"
    made = cifar_fs()
    held_out = {split: set(names.split()) for split, names in CIFAR_FS.items()}
    assert {split: set(made.groups(split)) for split in held_out} == held_out
    assert {"girl", "boy", "streetcar", "pine_tree", "aquarium_fish"} < set(made.groups("train"))
    assert {"whale", "baby", "woman", "raccoon", "bee"} < set(fc100().groups("test"))
    assert made.pool().classes == 64


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"train_bin": bytes(3074 * 299)}, "'train.bin' has 919,126 bytes where 922,200 are expected"),
        ({"train_bin": bytes(3074 * 300)}, "not every class has 6 images"),
        ({"test_bin": bytes(3074 * 301)}, "'test.bin' is no file, or larger than 922,200 bytes"),
    ],
)
def test_a_damaged_archive_is_named(small, members, message):
    small(0, **members)
    with pytest.raises(
        DataError, match=r"^Suite 'fc100': '.*' cannot be used \(ValueError: .*\)\. Replace it"
    ) as caught:
        fc100(queries=2).prepare()
    assert message in str(caught.value)


def test_no_archive_at_all_is_named(small, tmp_path):
    small()
    (tmp_path / "0" / "cifar100" / cifar100.NAME).write_bytes(b"404")
    with pytest.raises(DataError, match="cannot be used .ReadError: not a gzip file"):
        cifar_fs(queries=2).prepare()


@pytest.mark.parametrize(("widths", "parameters"), [(RESNET12, 12_424_320), (RESNET12_NARROW, 7_996_800)])
def test_resnet12_has_as_many_parameters_as_published(widths, parameters):
    with torch.device("meta"):
        model = resnet12(5, 3, widths)
        assert model(torch.rand(2, 3, 84, 84)).shape == model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    body = [weight.numel() for name, weight in model.named_parameters() if not name.startswith("head")]
    assert sum(body) == parameters


def test_resnet12_has_second_derivatives_and_is_batched_over_tasks():
    """One step of MAML through a narrow one, under vmap and task by task."""
    torch.manual_seed(0)
    model = resnet12(2, 3, (2, 4, 4, 4)).double()
    weights = dict(model.named_parameters())
    x, y = torch.rand(2, 4, 3, 16, 16, dtype=torch.float64), torch.arange(2).repeat(2, 2)

    def loss(weights, x, y):
        return torch.nn.functional.cross_entropy(torch.func.functional_call(model, weights, (x,)), y)

    def objective(weights, x, y):
        grads = torch.func.grad(loss)(weights, x, y)
        return loss({name: weights[name] - 0.1 * grads[name] for name in weights}, x.flip(0), y)

    batched = torch.func.vmap(torch.func.grad(objective), (None, 0, 0))(weights, x, y)
    alone = torch.func.grad(objective)(weights, x[1], y[1])
    assert all(torch.allclose(batched[name][1], alone[name]) for name in weights)
    assert all(bool((alone[name] != 0).any()) for name in weights)


def test_shapes_that_the_data_cannot_have_are_refused_at_once():
    with pytest.raises(ValueError, match="shots . queries is 601"):
        cifar_fs(shots=1, queries=600)


@pytest.mark.slow
def test_the_kit_passes(small, registry):
    small()
    results = check_suite(SuiteCase(fc100(queries=2, filters=4), "fc100", registry))
    assert [result for result in results if result.verdict == "failed"] == []
