"""A module as a function of its weights is what torch's `functional_call` makes of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metabench.api.trees import flatten, map_tree, unflatten
from metabench.engine.functional import FunctionalModule


class Tied(nn.Module):
    """One weight under two names, and a part that is there twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.other.weight = self.one.weight
        self.again = self.one

    def forward(self, x):
        return self.again(torch.tanh(self.other(torch.tanh(self.one(x)))))


def test_it_gives_what_torch_gives_and_leaves_the_module_as_it_was():
    module, x = Tied(), torch.randn(4, 3)
    before = copy.deepcopy(module.state_dict())
    weights = {name: torch.randn_like(weight) for name, weight in module.named_parameters()}
    torchs = functional_call(copy.deepcopy(module), weights, (x,))  # which leaves parts that are there twice changed
    assert torch.equal(FunctionalModule(module)(weights, x), torchs)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert set(dict(module.named_parameters())) == set(weights)


def test_after_an_error_the_module_is_as_it_was():
    module = Tied()
    weights = {name: torch.zeros_like(weight) for name, weight in module.named_parameters()}
    with pytest.raises(RuntimeError):
        FunctionalModule(module)(weights, torch.randn(4, 5))
    assert not any(torch.equal(weight, weights[name]) for name, weight in module.named_parameters())


def test_weights_that_are_not_given_are_the_modules_own():
    module, x = nn.Linear(3, 3), torch.randn(4, 3)
    given = {"bias": torch.zeros(3)}
    assert torch.equal(FunctionalModule(module)(given, x), functional_call(module, given, (x,)))


@pytest.mark.parametrize("tree", [{"b": torch.ones(2), "a": torch.zeros(1)}, {}, {"deep": {"x": torch.ones(1)}}])
def test_flat_dicts_and_others_come_back_as_they_were(tree):
    leaves, spec = flatten(tree)
    again = unflatten(leaves, spec)
    assert list(again) == list(tree)
    assert flatten(again)[0] == leaves
    doubled = map_tree(torch.add, tree, tree)
    assert all(torch.equal(a, 2 * b) for a, b in zip(flatten(doubled)[0], leaves, strict=True))


def test_trees_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="mismatch"):
        map_tree(torch.add, {"a": torch.ones(1)}, {"b": torch.ones(1)})
