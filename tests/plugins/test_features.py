"""Features of one's own: every point belongs to its class, scaling knows training alone, faults are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites.features import features

SMALL = {"ways": 2, "shots": 1, "queries": 2, "width": 4}


def arrays(classes: int = 10, each: int = 4) -> dict[str, np.ndarray]:
    """The first dimension is the class, the second the number of the point."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))
    x = np.stack([labels * 1.0, np.arange(len(labels)) * 1.0, np.ones(len(labels))], 1)
    return {"features": x, "labels": np.array([f"c{label}" for label in labels])}


def write(path: Path, **changed: np.ndarray) -> str:
    np.savez(path, **{**arrays(), **changed})
    return str(path)


def refused(path: Path, **parameters) -> str:
    with pytest.raises(DataError) as caught:
        features(path=str(path), **{**SMALL, **parameters}).prepare()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_points_belong_to_their_classes_and_come_once(tmp_path):
    suite = features(path=write(tmp_path / "f.npz"), scale="none", **SMALL)
    tasks = suite.sample("train", 50, random_generator("f"))
    x, y = (torch.cat([one, other], 1) for one, other in zip(*tasks))
    assert torch.equal(x[..., 0][:, :, None] == x[..., 0][:, None], y[:, :, None] == y[:, None])
    assert all(len(set(row)) == 6 for row in x[..., 1].tolist())
    assert suite.model()(tasks.support.x[0]).shape == (2, 2)
    assert features(path=str(tmp_path / "f.npz"), model="linear", **SMALL).model()(tasks.support.x[0]).shape == (2, 2)
    assert suite.pool().classes == len(suite.groups("train")) == 6


def test_scaling_knows_the_training_classes_alone(tmp_path):
    before = features(path=write(tmp_path / "f.npz"), **SMALL)
    test = before.groups("test")
    moved = arrays()
    moved["features"][np.isin(moved["labels"], list(test))] *= 1000
    after = features(path=write(tmp_path / "g.npz", features=moved["features"]), **SMALL)
    one, other = (suite.sample("train", 5, random_generator("s")).query.x for suite in (before, after))
    assert torch.equal(one, other)
    assert (one[..., 2] == 0).all()  # a constant is centred only
    unit = features(path=str(tmp_path / "f.npz"), scale="unit", **SMALL).sample("test", 5, random_generator("s"))
    assert unit.support.x.norm(dim=-1).numpy() == pytest.approx(1.0)


def test_splits_of_the_file_and_beside_it(tmp_path):
    labels = arrays()["labels"]
    of = {f"c{number}": "train" if number < 6 else "val" if number < 8 else "test" for number in range(10)}
    inside = features(path=write(tmp_path / "f.npz", splits=np.array([of[name] for name in labels])), **SMALL)
    (tmp_path / "s.json").write_text(json.dumps({name: of[name] for name in of if name != "c0"}), encoding="utf-8")
    beside = features(path=write(tmp_path / "g.npz"), split=str(tmp_path / "s.json"), **SMALL)
    assert inside.groups("test") == beside.groups("test") == {"c8", "c9"}
    assert inside.groups("train") - beside.groups("train") == {"c0"}
    assert "leaves out 1 classes" in beside.notes()[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.arange(3)}, "it has 40 points, but labels (3,)"),
        ({"features": np.full((40, 2), np.nan)}, "point 0 has a feature that is no number"),
        ({"features": np.full((40, 2), 1e200)}, "beyond 1e+30"),
        ({"features": np.ones((40, 2))}, "no feature varies in the training classes"),
        ({"features": np.ones(40)}, "must be numbers (points, dimensions), not float64 (40,)"),
        ({"labels": np.array([{}] * 40, object)}, "Object arrays cannot be loaded"),
        ({"splits": np.array(["other"] * 40)}, "must say train, validation or test, not 'other'"),
        ({"splits": np.array(["train", "test"] * 20)}, "is in two splits"),
        ({"labels": np.repeat([1.0, 2.0], 20)}, "ways is 2, but the train split has 1 classes"),
    ],
)
def test_faults_are_named(tmp_path, changed, message):
    assert message in refused(write(tmp_path / "f.npz", **changed))


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "f.npz").write_bytes(b"no archive")
    assert "cannot be used" in refused(tmp_path / "f.npz")
    np.savez(tmp_path / "g.npz", x=np.ones(3))
    assert "it holds no array 'features'; there are x" in refused(tmp_path / "g.npz")
    assert "class 'c" in refused(write(tmp_path / "h.npz"), shots=3)


@pytest.mark.slow
def test_the_kit_passes(tmp_path, registry):
    results = check_suite(SuiteCase(features(path=write(tmp_path / "f.npz"), **SMALL), "features", registry))
    assert [result for result in results if result.verdict == "failed"] == []
