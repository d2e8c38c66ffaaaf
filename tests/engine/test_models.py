"""A model is what its author made it, whoever learns it; what cannot be honoured is refused with the layer's name."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from metabench.api import Batch
from metabench.engine.learner import adapt_fully, as_learner
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.seeds import random_generator, seed_everything
from metabench.errors import NotApplicableError, UserError
from metabench.registry.discovery import load_registry
from metabench.testing.toy_suites import clouds, lines

REGISTRY = load_registry()
ALGORITHMS = sorted(name for name, entry in REGISTRY.algorithms.items() if not entry.missing)


class Net(nn.Module):
    """Layers that are used in the order of their numbers, and defined in another; the last may be wrapped."""

    def __init__(self, order, frozen=(), head="plain", inputs=2):
        super().__init__()
        last = len(order) - 1
        sizes = [inputs, *[6] * last, 3]
        for number in order:
            layer = nn.Linear(sizes[number], sizes[number + 1]).requires_grad_(number not in frozen)
            if number == last and head == "normalised":
                layer = parametrizations.weight_norm(layer)
            if number == last and head == "nested":
                layer = nn.Sequential(layer, nn.Identity())
            setattr(self, f"layer{number}", layer)
        self.scale = nn.Parameter(torch.ones(())) if head == "temperature" else 1.0
        self.count, self.functional = len(order), head == "functional"

    def forward(self, x):
        for number in range(self.count - 1):
            x = torch.tanh(getattr(self, f"layer{number}")(x))
        last = getattr(self, f"layer{self.count - 1}")
        return self.scale * (F.linear(x, last.weight, last.bias) if self.functional else last(x))


def problem_of(model, suite=clouds, **fields):
    return build_problem(suite()._replace(model=model, **fields), 0, dtype=torch.float64)


HEADS = st.sampled_from(["plain", "nested", "normalised", "temperature", "functional"])


@settings(max_examples=25)
@given(st.permutations(range(3)), HEADS)
def test_the_head_is_the_layer_that_is_used_last(order, head):
    names = {name for name in dict(Net(order, head=head).named_parameters()) if name.startswith("layer2.")}
    problem = problem_of(lambda: Net(order, head=head))
    assert set(problem.head) == names
    assert [name for name in problem.layers if not name.startswith("layer2")] == ["layer0", "layer1"]


@settings(max_examples=10)
@given(
    st.permutations(range(3)), st.sampled_from(["anil", "boil", "protonet", "r2d2", "cavia", "finetune", "protomaml"])
)
def test_an_algorithm_does_the_same_whatever_the_order_of_definition(order, algorithm):
    found = []
    for each in (order, range(3)):

        def model(each=each):
            net = Net(each)
            for number in range(3):  # the same weights, whatever was drawn before
                generator = random_generator("layer", number)
                for weight in getattr(net, f"layer{number}").parameters():
                    nn.init.normal_(weight, generator=generator)
            return net

        found.append(trained(algorithm, problem_of(model), clouds()))
    if algorithm != "finetune":  # whose wide head is drawn anew
        assert torch.equal(*found)


def trained(algorithm, problem, suite):
    """Predictions for two tasks after two updates and two inner steps."""
    seed_everything(0)
    learner = as_learner(REGISTRY.algorithms[algorithm].factory(problem))
    tasks = to_device_dtype(suite.sample("train", 2, random_generator("t")), "cpu", torch.float64)
    for _ in range(2 if learner.trainable else 0):
        learner.update(tasks, 0.0)
    with torch.no_grad():
        adapted = adapt_fully(learner, tasks.support, 2)
        return torch.stack([predict(x).detach() for predict, x in zip(adapted, tasks.query.x)])


@settings(max_examples=3)
@given(frozen=st.sampled_from([(0,), (1,), (0, 1)]), order=st.permutations(range(3)), data=st.data())
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_frozen_does_not_move_under_any_algorithm(algorithm, frozen, order, data):
    """A frozen layer of zeros: as long as it stays, no output depends on the input."""

    def model():
        net = Net(order, frozen)
        nn.init.zeros_(getattr(net, f"layer{frozen[0]}").weight)
        return net

    problem = problem_of(model)
    names = {f"layer{number}.{part}" for number in frozen for part in ("weight", "bias")}
    assert not names & problem.init().keys()
    assert not names & dict(problem.module().named_parameters()).keys()
    assert names <= problem.module().state_dict().keys()
    if algorithm == "nearest":  # which looks at raw inputs
        return
    try:
        outputs = trained(algorithm, problem, clouds())
    except NotApplicableError:
        return
    assert torch.allclose(outputs, outputs[:, :1].expand_as(outputs), atol=1e-9)


class Tied(nn.Module):
    """Its last layer has the weights of its first."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.last = nn.Linear(3, 3)
        self.last.weight = self.first.weight
        self.inputs = nn.Linear(2, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(torch.tanh(self.inputs(x)))))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tied_weights_stay_tied(algorithm):
    problem = problem_of(Tied)
    assert set(problem.head) == {"first.weight", "last.bias"}
    assert "last.weight" not in problem.init()
    module = problem.module()
    assert module.last.weight is module.first.weight
    try:
        outputs = trained(algorithm, problem, clouds())
    except NotApplicableError:
        return
    assert outputs.isfinite().all()


class Parallel(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.more, self.body = nn.Linear(6, 2), nn.Linear(6, 1), nn.Linear(2, 6)

    def forward(self, x):
        features = torch.tanh(self.body(x))
        return torch.cat([self.mean(features), self.more(features)], 1)


def test_layers_side_by_side_are_the_head_together():
    problem = problem_of(Parallel)
    assert set(problem.head) == {"mean.weight", "mean.bias", "more.weight", "more.bias"}
    with pytest.raises(NotApplicableError, match="its last layer is not one module, but all of mean.weight"):
        REGISTRY.algorithms["protonet"].factory(problem)


def test_a_suite_may_name_the_head():
    problem = problem_of(lambda: Net(range(3)), head="layer1")
    assert problem.head == ("layer1.weight", "layer1.bias")
    with pytest.raises(UserError, match=r"head is no layer with weights of the model: 'layer'\. Did you mean 'layer"):
        problem_of(lambda: Net(range(3)), head="layer")


def test_a_head_that_cannot_be_told_matters_to_those_alone_who_ask_for_it():
    problem = problem_of(lambda: Net(range(3), frozen=(2,)))
    assert trained("maml", problem, clouds()).isfinite().all()
    with pytest.raises(UserError, match="Cannot tell the model's last layer: 'layer2' is frozen. Name it"):
        REGISTRY.algorithms["anil"].factory(problem)


def test_complex_buffers_stay_complex():
    class Filtered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("filter", torch.tensor([1.0, 1j]))
            self.head = nn.Linear(2, 3)

        def forward(self, x):
            return self.head((x * self.filter).abs())

    problem = problem_of(Filtered)
    assert problem.module().filter.dtype == torch.complex128
    assert torch.equal(problem.module().filter, torch.tensor([1.0, 1j], dtype=torch.complex128))


class Layered(nn.Module):
    """A linear layer, and before it another that misbehaves."""

    def __init__(self, odd):
        super().__init__()
        self.odd, self.head = odd, nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.odd(x))


def layer(function, **state):
    """A layer of a function of itself and x, with a state."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in state.items():
                setattr(self, name, value)

        def forward(self, x):
            return function(self, x)

    return Odd()


def counts(self, x):
    self.calls += 1
    return x * (1 + self.calls)


def remembers(self, x):
    self.last, last = x.mean().detach(), self.last
    return x + last


def buffered(self, x):
    self.total += x.detach().mean()
    return x


def noisy_generator(self, x):
    return x + torch.randn(x.shape, generator=self.generator).to(x)


def hooked():
    made = nn.Linear(2, 2)
    made.weight.register_hook(lambda gradient: gradient * 0)
    return made


class WithBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x):
        return buffered(self, x)


ODD = {
    "dropout": (lambda: nn.Dropout(0.5), "draws random numbers"),
    "functional dropout": (lambda: layer(lambda self, x: F.dropout(x, 0.5)), "draws random numbers"),
    "numpy": (lambda: layer(lambda self, x: x * __import__("numpy").random.rand()), "draws random numbers"),
    "random": (lambda: layer(lambda self, x: x * random.random()), "draws random numbers"),
    "generator": (
        lambda: layer(noisy_generator, generator=torch.Generator()),
        "gives other outputs for the same weights and input",
    ),
    "counter": (lambda: layer(counts, calls=0), "gives other outputs for the same weights and input"),
    "memory": (lambda: layer(remembers, last=0.0), "gives other outputs for the same weights and input"),
    "buffer": (WithBuffer, "changes its own tensors"),
    "batch norm": (lambda: nn.BatchNorm1d(2), "keeps running statistics"),
    "instance norm": (lambda: nn.BatchNorm1d(2, affine=False), "keeps running statistics"),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(2, 2)), "changes its own tensors"),
    "in place": (lambda: layer(lambda self, x: x.mul_(0.5)), "writes into the model's input"),
    "in place on a view": (lambda: layer(lambda self, x: x.flatten(1).add_(1)), "writes into the model's input"),
    "relu in place": (lambda: nn.ReLU(inplace=True), "writes into the model's input"),
    "weights in place": (
        lambda: layer(lambda self, x: x * self.w.data.mul_(0.9), w=nn.Parameter(torch.ones(2))),
        "changes its own tensors",
    ),
    "complex": (lambda: layer(lambda self, x: x, w=nn.Parameter(torch.ones(2) * 1j)), "has complex weights"),
    "lazy": (lambda: nn.LazyLinear(2), "does not know the size of 'weight' yet"),
    "hook": (hooked, "has a hook on the gradient of 'weight'"),
    "old weight norm": (lambda: nn.utils.weight_norm(nn.Linear(2, 2)), "keeps 'weight', a tensor with a graph"),
    "no parameter": (
        lambda: layer(lambda self, x: x * self.w, w=torch.ones(2, requires_grad=True)),
        "keeps 'w', a tensor with a gradient that is no parameter",
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Lazy modules")
def test_what_is_more_than_a_function_of_weights_and_input_is_refused_with_its_name(kind):
    odd, words = ODD[kind]
    with pytest.raises(UserError) as error:
        problem_of(lambda: Layered(odd()))
    assert str(error.value).startswith("Layer 'odd")
    assert words in str(error.value)


EVEN = {
    "frozen statistics": lambda: nn.BatchNorm1d(2).eval(),
    "dropout that is off": lambda: nn.Dropout(0.5).eval(),
    "batch statistics": lambda: nn.BatchNorm1d(2, track_running_stats=False),
    "in place on its own": lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True)),
    "a constant buffer": lambda: nn.BatchNorm1d(2, affine=False).eval(),
    "normalised": lambda: parametrizations.weight_norm(nn.Linear(2, 2)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(2, 2)),
}


@pytest.mark.parametrize("kind", EVEN)
def test_what_behaves_is_taken_whatever_its_type(kind):
    problem = problem_of(lambda: Layered(EVEN[kind]()))
    assert set(problem.head) == {"head.weight", "head.bias"}
    assert trained("maml", problem, clouds()).isfinite().all()


def test_a_loss_that_draws_is_named_as_the_loss():
    def loss(predict, batch):
        return (predict(batch.x) - batch.y).square().mean() * torch.rand(())

    with pytest.raises(UserError, match="^The loss of the suite draws random numbers"):
        build_problem(lines()._replace(loss=loss), 0)


def test_a_model_without_anything_to_learn_is_refused():
    with pytest.raises(UserError, match="The model Linear has no parameters to learn: all are frozen"):
        problem_of(lambda: nn.Linear(2, 3).requires_grad_(False))
    with pytest.raises(UserError, match="The model Flatten has no parameters to learn"):
        problem_of(nn.Flatten)


def test_building_a_problem_moves_no_random_stream_and_no_task():
    suite = lines()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_problem(suite, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_integer_inputs():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.embed = nn.Linear(4, 3), nn.Embedding(7, 4)

        def forward(self, x):
            return self.head(self.embed(x).mean(1))

    def sample(split, n, generator):
        tasks = clouds().sample(split, n, generator)
        return type(tasks)(*(Batch((b.x.abs() * 2).long().clamp(max=6), b.y) for b in tasks))

    problem = problem_of(Tokens, sample=sample)
    assert problem.head == ("head.weight", "head.bias")
    assert list(problem.layers) == ["embed", "head"]
