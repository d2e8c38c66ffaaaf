"""A user's own network on a suite, and weights that it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.engine.digests import code_digests, code_now
from metabench.errors import UserError
from metabench.experiments.planning import plan_trials
from metabench.experiments.read_options import read_options
from metabench.experiments.suite_builder import SuiteBuilder
from tests.blocks import blocks
from tests.builders import trial

ROOT = Path(__file__).resolve().parents[2]

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, ways, inputs, hidden=4, extra=0):
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, ways + extra))

class Wide(Net):
    def __init__(self, ways, inputs):
        super().__init__(ways, inputs, extra=1)

class Needy(Net):
    def __init__(self, ways, inputs, depth):
        super().__init__(ways, inputs)
"""


@pytest.fixture
def build(tmp_path, monkeypatch, registry):
    """`build(model=...)`: the suite of features in a folder with `net.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, "utf-8")
    rng = np.random.default_rng(0)
    np.savez("data.npz", features=rng.normal(size=(90, 3)), labels=np.arange(90) % 15)

    def call(**parameters):
        given = {"path": "data.npz", "ways": 2, "queries": 2, **parameters}
        return SuiteBuilder(registry).build("features", given)

    return call


def test_it_is_given_what_it_asks_for_and_the_rest_of_the_suite_stays(build):
    plain, own = build(), build(model="net.py:Net")
    own.prepare()
    assert [tuple(each.shape) for each in own.model().parameters()] == [(4, 3), (4,), (2, 4), (2,)]
    assert own.recipes == plain.recipes
    assert own.digest() == plain.digest()


def test_the_example_of_the_documentation_is_a_model_of_images(tmp_path, monkeypatch, registry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    (example,) = [text for _, text in blocks(ROOT / "docs" / "suites.md") if "class Net" in text]
    (tmp_path / "my_module.py").write_text(example, "utf-8")
    for number in range(45):
        (tmp_path / "images" / f"c{number % 15}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (5 * number, 0, 0)).save(f"images/c{number % 15}/{number}.png")
    given = {"path": "images", "size": 16, "ways": 2, "queries": 2, "filters": 4, "model": "my_module.py:Net"}
    suite = SuiteBuilder(registry).build("image-folder", given)
    suite.prepare()
    assert suite.model()[0].weight.shape == (4, 3, 3, 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("none.py:Net", "there is no file '.*none.py' to take the model 'Net' from"),
        ("net.py:Nett", "'.*net.py' has no model 'Nett'; its classes: Net, Wide, Needy"),
        ("net.py:Wide", r"'net.py:Wide' gives \(2, 3\) for \(2, 3\); \(2, 2\) is wanted"),
        ("net.py:Needy", "'net.py:Needy' asks for 'depth'; known are inputs, .*shape"),
        ("nets", r"Parameter 'model' of suite 'features' must be 'linear' \| 'mlp' \| FILE.py:NAME, not 'nets'"),
    ],
)
def test_what_does_not_fit_is_one_line(build, model, words):
    with pytest.raises((UserError, ValueError), match=words) as caught:
        build(model=model).prepare()
    assert "\n" not in str(caught.value)


def test_the_digest_of_the_suite_s_code_includes_the_file(build, registry, tmp_path):
    def digest(**parameters):
        of = trial("maml", "features", suite_parameters=parameters)
        return code_digests(code_now(registry, [of]), of).suite

    plain, before = digest(model="mlp"), digest(model="net.py:Net")
    (tmp_path / "net.py").write_text(NET + "\n# a comment\n", "utf-8")
    assert digest(model="net.py:Net") == before
    (tmp_path / "net.py").write_text(NET.replace("nn.ReLU()", "nn.Tanh()"), "utf-8")
    assert len({plain, before, digest(model="net.py:Net")}) == 3
    assert digest(model="gone.py:Net") is None, "what cannot be found is unknown, not changed"


def test_recipes_and_grids_take_it_and_no_trial_is_renamed(build, registry):
    def ids(**given):
        words = {"suites": ["features"], "algos": ["maml"], "seeds": 1}
        options = read_options(None, {**words, "set": {"features": {"path": "data.npz", "ways": 2, **given}}})
        return [each.suite_parameters for each in plan_trials(options, registry)]

    assert [each["model"] for each in ids(model="linear,net.py:Net")] == ["linear", "net.py:Net"]
    assert all("weights" not in each for each in ids() + ids(weights=""))


def test_what_came_later_cannot_stand_in_a_suite_s_name(registry):
    with pytest.raises(
        UserError, match="'test_shots' cannot stand in the name of a suite: say --set omniglot.test_sh"
    ):
        registry.get("suite", "omniglot+test_shots=5")


def test_training_starts_from_weights_that_fit_and_says_what_it_did_not_find(build, registry, tmp_path):
    given = build(model="net.py:Net").model().state_dict()
    body = {f"module.{name}": torch.full_like(each, 0.5) for name, each in given.items() if name[0] == "0"}
    torch.save({"state_dict": body, "epoch": 3}, "body.pt")
    suite = build(model="net.py:Net", weights="body.pt")
    suite.prepare()
    started = suite.model()
    assert (started[0].weight == 0.5).all()
    assert not (started[2].weight == 0.5).any()
    assert "starts from 'body.pt' (" in suite.notes()[0]
    assert "2 of its 4 tensors; not found there, or of another shape: 2.weight, 2.bias" in suite.notes()[0]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"other": torch.zeros(2)}, "no tensor of 'w.pt' fits: it has other; the model has linear1.weight"),
        (3, "'w.pt' holds no weights"),
        (np.zeros, "the weights 'w.pt' cannot be read"),
        (None, "there are no weights 'w.pt'"),
    ],
)
def test_weights_of_no_use_are_one_line(build, held, words):
    if held is not None:
        torch.save(held, "w.pt")
    with pytest.raises((UserError, ValueError), match=words) as caught:
        build(weights="w.pt").prepare()
    assert "\n" not in str(caught.value)


def test_every_suite_with_a_choice_of_models_takes_one(registry):
    for name in ("omniglot", "emnist", "cifar-fs", "fc100", "mini-imagenet", "image-folder", "features"):
        assert registry.suites[name].parameters["model"].open, name
        assert "weights" not in registry.suites[name].resolve({})
