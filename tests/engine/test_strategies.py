"""Every strategy gives the same numbers; what a strategy cannot do ends in one that can."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metabench.api import Algorithm, Batch, Suite, Task, sgd, unroll
from metabench.api.inner_loops import rematerialising
from metabench.api.trees import flatten, map_tree, stack, unflatten
from metabench.engine import select_strategy
from metabench.engine.learner import BatchedLearner, as_learner
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.engine.strategies import STRATEGIES, captured, compiled
from metabench.engine.strategies.base import LARGE_CONVOLUTION, Strategy, Workers, by_rule
from metabench.engine.strategies.threaded import Threaded, as_it_is, channels_last
from metabench.engine.strategies.vectorised import Vectorised
from metabench.records.trials import Budget, Execution, StrategyName, Trial
from metabench.testing.toy_suites import lines
from tests import builders
from tests.traced import as_traced


class Viewing(nn.Module):
    """A convolutional network whose author flattens by `view`, which not every layout allows."""

    def __init__(self, filters: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, filters, 3, stride=2, padding=1)
        self.head = nn.Linear(filters * 9, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).view(len(x), -1))


def normed(filters: int = 4) -> nn.Module:
    """A convolution, BatchNorm on the batch, a mean over space."""
    conv, norm = nn.Conv2d(2, filters, 3, stride=2, padding=1), nn.BatchNorm2d(filters, track_running_stats=False)
    return nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(filters, 3))


MANY = LARGE_CONVOLUTION // (2 * 3 * 3)
"""Filters of such a network from which its convolution is large."""


def images(model) -> Suite:
    """Three classes of random 6 by 6 images with two channels."""

    def sample(split, n, generator):
        def batch(points):
            x = torch.rand(n, points, 2, 6, 6, generator=generator)
            return Batch(x, torch.arange(points).remainder(3).repeat(n, 1))

        return Task(batch(3), batch(6))

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    return Suite(sample, model, loss, lambda predict, batch: {"loss": loss(predict, batch)}, False)


SUITES = {"lines": lines, "convolution": lambda: images(normed), "view": lambda: images(Viewing)}


def maml(suite: Suite, steps: int = 2, dtype=torch.float64, precision="float32") -> Algorithm:
    problem = build_problem(suite, 0, dtype=dtype, precision=precision)
    inner = sgd(problem, 0.1)

    def objective(meta, task, progress):
        return (1 + progress) * problem.loss(unroll(inner, meta, task.support, steps), task.query)

    return Algorithm(problem.init, inner, objective)


def tasks_of(suite: Suite, n: int, seed: int = 0) -> Task:
    drawn = suite.sample("train", n, random_generator(seed, "strategies"))
    return map_tree(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, drawn)


def vector(direction) -> torch.Tensor:
    loss, gradient = direction
    return torch.cat([loss.reshape(1), *(leaf.reshape(-1) for leaf in flatten(gradient)[0])])


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A cache of their own for compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
@settings(max_examples=40)
@given(tasks=st.integers(1, 7), chunk=st.integers(1, 8), threads=st.integers(1, 3), seed=st.integers(0, 99))
def test_strategies_agree_in_value_and_gradient(name, tasks, chunk, threads, seed):
    suite = SUITES[name]()
    batch = tasks_of(suite, tasks, seed)
    mappers = (Vectorised(64), Vectorised(chunk, threads), Threaded(threads), Threaded(threads, rematerialise=True))
    first, *others = (vector(BatchedLearner(maml(suite), strategy).direction(batch, 0.5)) for strategy in mappers)
    for other in others:
        assert torch.allclose(first, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("strategy", [partial(Vectorised, chunk=2), Threaded])
def test_the_bits_do_not_depend_on_the_threads(strategy):
    suite = images(normed)
    batch = tasks_of(suite, 7)
    alone, *others = (
        vector(BatchedLearner(maml(suite), strategy(threads=n)).direction(batch, 0.5)) for n in (1, 2, 3)
    )
    assert all(torch.equal(alone, other) for other in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_has_the_same_bits_in_a_worker_thread(dtype):
    """MKL splits a row times a matrix among cores, unless the thread has been told of one."""
    generator = torch.Generator().manual_seed(0)
    row, matrix = (torch.randn(*size, generator=generator, dtype=dtype) for size in ((1, 576), (576, 128)))
    assert all(torch.equal(product, row @ matrix) for product in Workers(2).each(lambda _: row @ matrix, [0, 1]))


OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.01),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5),
    "sgd": partial(torch.optim.SGD, lr=0.1),
}


def after_updates(made: Algorithm, strategy, suite: Suite) -> torch.Tensor:
    """The losses and the last meta-parameters of a few updates with a schedule."""
    learner = BatchedLearner(made._replace(schedule=lambda progress: 1 - progress / 2), strategy)
    losses = [learner.update(tasks_of(suite, 5, i), i / 4) for i in range(4)]
    return torch.cat([torch.stack(losses), *(leaf.reshape(-1) for leaf in learner.outer.leaves)])


def agrees(made: Algorithm, suite: Suite) -> compiled.Compiled:
    """A compiled strategy, after updates that agreed with vectorised ones."""
    expected, strategy = after_updates(made, Vectorised(), suite), compiled.Compiled()
    adam = made.optimizer is OPTIMIZERS["adam"]
    tolerance = 1e-6 if adam else 1e-11  # torch counts Adam's steps in float32, and so do its powers
    assert torch.allclose(after_updates(made, strategy, suite), expected, rtol=1e-9, atol=tolerance)
    assert strategy.name == "compiled", strategy.problem
    return strategy


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_compiled_agrees(monkeypatch, optimizer):
    monkeypatch.setattr(compiled, "load_or_compile", as_traced)
    agrees(maml(lines(), steps=1)._replace(optimizer=OPTIMIZERS[optimizer]), lines())


@pytest.mark.slow
def test_compiled_agrees_and_is_kept_on_disk(programs, monkeypatch):
    suite = lines()
    made = maml(suite, steps=2)._replace(optimizer=OPTIMIZERS["adam"])
    agrees(made, suite)
    monkeypatch.setattr(compiled, "compile_to", None)  # from now on it comes from the disk
    agrees(made, suite)


def test_what_branches_on_the_progress_runs_vectorised(programs):
    suite = lines()
    made = maml(suite)
    objective = made.objective

    def annealed(meta, task, progress):
        return objective(meta, task, progress) * (2.0 if progress > 0.5 else 1.0)

    made, strategy = made._replace(objective=annealed), compiled.Compiled()
    assert torch.equal(after_updates(made, strategy, suite), after_updates(made, Vectorised(), suite))
    assert strategy.name == "vectorised"
    assert strategy.problem


def test_without_a_compiler_it_runs_vectorised(programs, monkeypatch):
    def fails(path, graph, inputs):
        raise RuntimeError("no C++ compiler\nwas found")

    monkeypatch.setattr(compiled, "compile_to", fails)
    made, strategy = maml(lines(), steps=4), compiled.Compiled()
    assert torch.equal(after_updates(made, strategy, lines()), after_updates(made, Vectorised(), lines()))
    assert strategy.name == "vectorised"
    assert strategy.problem == "RuntimeError: no C++ compiler was found"


@pytest.mark.slow
def test_a_program_that_cannot_be_loaded_ends_no_trial(tmp_path, monkeypatch):
    import torch._inductor

    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))

    def makes(exported, package_path):
        Path(package_path).write_bytes(b"no archive")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", makes)
    made, strategy = maml(lines(), steps=4), compiled.Compiled()
    assert torch.equal(after_updates(made, strategy, lines()), after_updates(made, Vectorised(), lines()))
    assert strategy.name == "vectorised"
    assert strategy.problem.startswith("RuntimeError: a process that loaded the program ended with exit code ")
    assert not list(tmp_path.rglob("*.pt2")), "what cannot be loaded is not kept"


def test_an_error_in_the_algorithm_is_not_the_compilers(programs):
    def broken(meta, task, progress):
        raise KeyError("head")

    learner = BatchedLearner(maml(lines())._replace(objective=broken), compiled.Compiled())
    with pytest.raises(KeyError, match="head"):
        learner.update(tasks_of(lines(), 2), 0.0)


THREADS = """
import torch
from metabench.engine.strategies.base import Workers

def slope(i):
    weight = torch.randn(10, 10, requires_grad=True)
    return torch.autograd.grad(weight.square().sum(), weight)

workers = Workers(2)
with torch.enable_grad():
    list(workers.each(slope, list(range(8))))
"""


@pytest.mark.slow
def test_a_process_outlives_its_threads():
    """Without a wait four of six abort in torch with exit code 134. Copies of one process never do."""
    began = [subprocess.Popen([sys.executable, "-c", THREADS]) for _ in range(4)]
    assert [process.wait() for process in began] == [0] * 4


def prepared(model) -> Threaded:
    strategy, suite = Threaded(2, plain_layers=True), images(model)
    learner = BatchedLearner(maml(suite), strategy)
    before = vector(learner.direction(tasks_of(suite, 3), 0.0))
    learner.prepare(tasks_of(suite, 3))
    assert torch.allclose(vector(learner.direction(tasks_of(suite, 3), 0.0)), before, rtol=1e-9, atol=1e-11)
    return strategy


def test_channels_last_where_it_pays_and_the_model_can_view_it_so():
    assert prepared(partial(normed, MANY)).layout is channels_last
    assert prepared(partial(Viewing, MANY)).layout is as_it_is
    assert prepared(partial(normed, MANY - 1)).layout is as_it_is


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_agree_whatever_the_layout_of_the_gradient(optimizer):
    suite, strategy = images(normed), Threaded(2)
    made = maml(suite)._replace(optimizer=OPTIMIZERS[optimizer])
    strategy.layout = channels_last
    expected = after_updates(made, Vectorised(), suite)
    assert torch.allclose(after_updates(made, strategy, suite), expected, rtol=1e-7, atol=1e-9)


def test_channels_last_only_while_the_direction_stays_the_same():
    strategy, suite = Threaded(plain_layers=True), images(partial(normed, MANY))

    def sensitive(meta, task, progress):
        usual = task.support.x.is_contiguous()
        return torch.ones(()), map_tree(lambda leaf: leaf if usual else 1.01 * leaf, meta)

    made = maml(suite)._replace(objective=None, meta_grad=sensitive)
    BatchedLearner(made, strategy).prepare(tasks_of(suite, 2))
    assert strategy.layout is as_it_is


def test_rematerialising_keeps_less():
    """What autograd holds for the backward pass hardly grows with the steps."""

    def held(steps: int, rematerialise: bool) -> int:
        suite, sizes = images(normed), []
        made, task = maml(suite, steps), map_tree(lambda leaf: leaf[0], tasks_of(suite, 1))
        leaves, spec = flatten(made.init())
        leaves = [leaf.requires_grad_() for leaf in leaves]

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        again = rematerialising() if rematerialise else nullcontext()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), again:
            made.objective(unflatten(leaves, spec), task, 0.0)
        return sum(sizes)

    kept = held(12, False) - held(2, False)
    again = held(12, True) - held(2, True)
    assert again < 0.2 * kept


def trial(updates: int = 1000, **fields) -> Trial:
    return builders.trial(budget=Budget(updates=updates, meta_batch_size=4), **fields)


def test_a_choice_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    made, tasks = maml(lines(), dtype=torch.float32), lines().sample("train", 4, random_generator("choice"))
    first = select_strategy.select_strategy(made, lines(), tasks, trial(), Execution())
    assert set(first.milliseconds) == {"vectorised", "threaded"}
    assert first.strategy == min(first.milliseconds, key=first.milliseconds.get)
    assert first.reason.startswith("measured; not compiled: that saves some")
    monkeypatch.setattr(select_strategy, "measure", None)
    other_seed = msgspec.structs.replace(trial(), seed=7)
    assert select_strategy.select_strategy(made, lines(), tasks, other_seed, Execution(threads=2)) == first
    path = next((tmp_path / "strategies").glob("*.json"))
    later = msgspec.structs.replace(first, strategy="threaded", reason="too late")
    assert select_strategy.publish(path, later) == first
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_that_cannot_be_used_costs_a_measurement_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file"))
    made, tasks = maml(lines(), dtype=torch.float32), lines().sample("train", 4, random_generator("choice"))
    assert select_strategy.select_strategy(made, lines(), tasks, trial(), Execution()).milliseconds


def test_a_short_trial_goes_by_the_rule():
    made = maml(lines())
    choice = select_strategy.select_strategy(made, lines(), tasks_of(lines(), 2), trial(updates=20), Execution())
    assert choice.strategy == "vectorised"
    large = {"weight": torch.zeros(64, 64, 3, 3)}
    assert (by_rule(made.init()), by_rule(large)) == ("vectorised", "threaded")


def test_adam_is_fused_unless_its_author_chose_otherwise():
    made = maml(lines())
    assert as_learner(made).outer.optimizer.param_groups[0]["fused"] is True
    chosen = made._replace(optimizer=lambda leaves: torch.optim.Adam(leaves, foreach=True))
    assert as_learner(chosen).outer.optimizer.param_groups[0]["fused"] is None


def test_bf16_is_close_and_float32_outside():
    suite = lines()
    exact, rounded = (build_problem(suite, 0, precision=precision) for precision in ("float32", "bf16"))
    x = map_tree(lambda leaf: leaf[0], suite.sample("train", 1, random_generator("bf16"))).support.x
    one, other = exact.apply(exact.init(), x), rounded.apply(rounded.init(), x)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.05)


@pytest.mark.parametrize("strategy", [Vectorised, Threaded])
def test_bf16_trains_a_convolution_with_batchnorm(strategy):
    """Their mixture of dtypes is what torch's batching rules have no backward for."""
    suite = images(normed)
    batch = to_device_dtype(tasks_of(suite, 4), "cpu")
    made = (maml(suite, dtype=torch.float32, precision=precision) for precision in ("float32", "bf16"))
    exact, rounded = (vector(BatchedLearner(each, strategy()).direction(batch, 0.0)) for each in made)
    assert rounded.dtype == torch.float32
    assert 0 < torch.linalg.vector_norm(rounded - exact) < 0.1 * torch.linalg.vector_norm(exact)


def test_captured_without_cuda_is_vectorised_and_says_so():
    suite = images(normed)
    strategy = captured.Captured()
    assert torch.equal(after_updates(maml(suite), strategy, suite), after_updates(maml(suite), Vectorised(), suite))
    assert strategy.name == "vectorised"
    assert "a CUDA device is needed" in strategy.problem


def again_into(run, device):
    """What a CUDA graph does, in Python: the same tensors are read, and the same written, at every replay."""
    outputs = run()

    def replay():
        for leaf, new in zip(flatten(outputs)[0], flatten(run())[0], strict=True):
            leaf.copy_(new)

    return replay, outputs


def test_what_a_capture_reads_and_writes_is_each_updates_own(monkeypatch):
    """Tasks, progress, meta-parameters and a state that is put back reach the graph; losses are not written over."""
    monkeypatch.setattr(captured, "capture", again_into)
    suite = images(normed)
    expected = after_updates(maml(suite), Vectorised(), suite)
    strategy = captured.Captured()
    assert torch.equal(after_updates(maml(suite), strategy, suite), expected)
    assert strategy.name == "captured"
    usual, replayed = (BatchedLearner(maml(suite), each) for each in (Vectorised(), captured.Captured()))
    start = {"meta": [2 * leaf for leaf in usual.outer.leaves], "optimizer": usual.state_dict()["optimizer"]}
    for learner in (usual, replayed):
        learner.update(tasks_of(suite, 5), 0.0)
        learner.load_state_dict(start)
        learner.update(tasks_of(suite, 5, 1), 0.5)
        learner.update(tasks_of(suite, 3, 2), 0.5)  # of another shape, and so by another graph
    assert all(torch.equal(*leaves) for leaves in zip(usual.outer.leaves, replayed.outer.leaves, strict=True))


class Sequential(Strategy):
    """One task after the other: a strategy of a few lines."""

    name = "sequential"

    def map(self, function, *trees):
        """See Strategy."""
        tasks = range(len(flatten(trees)[0][0]))
        return stack([function(*map_tree(lambda leaf, i=i: leaf[i], trees)) for i in tasks])

    def mean(self, direction, meta, tasks, progress):
        """See Strategy."""
        return map_tree(lambda leaf: leaf.mean(0), self.map(lambda task: direction(meta, task, progress), tasks))


def test_a_strategy_is_added_by_registration(registry, tmp_path, monkeypatch):
    """It can be asked for, and `auto` weighs it with the others."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.setitem(STRATEGIES, "sequential", Sequential)
    budget = Budget(updates=3, meta_batch_size=2, validations=1, validation_tasks=2, test_tasks=2, test_steps=1)
    short = Trial(
        algorithm="maml", algorithm_parameters={}, suite="sinusoid", suite_parameters={}, seed=0, budget=budget,
        precision="float64",
    )  # fmt: skip
    records = [
        run_trial(short, Execution(strategy=name), lambda progress: None, registry).record
        for name in ("sequential", "vectorised")
    ]
    assert [record.strategy for record in records] == ["sequential", "vectorised"]
    assert records[0].tests["inductive"].score == pytest.approx(records[1].tests["inductive"].score, rel=1e-9)
    made, tasks = maml(lines(), dtype=torch.float32), lines().sample("train", 4, random_generator("choice"))
    measured = select_strategy.select_strategy(made, lines(), tasks, trial(), Execution()).milliseconds
    assert set(measured) == {"vectorised", "threaded", "sequential"}


def test_the_names_that_are_accepted_are_the_strategies_that_there_are():
    assert [*STRATEGIES] == [name for name in get_args(StrategyName) if name != "auto"]
    assert all(Strategy in strategy.__mro__ for strategy in STRATEGIES.values())


def test_a_strategy_that_there_is_not_is_one_line(registry):
    short = msgspec.structs.replace(trial(updates=1), algorithm="maml", suite="sinusoid")
    record = run_trial(short, Execution(strategy="vectorized"), lambda progress: None, registry).record
    assert (record.status, record.provenance.traceback) == ("error", "")
    assert record.reason.startswith("There is no strategy 'vectorized'. Did you mean 'vectorised'?")


@pytest.mark.parametrize("strategy", [Vectorised, Threaded, compiled.Compiled])
def test_a_direction_that_is_too_long_is_cut_and_a_short_one_left(strategy, monkeypatch):
    """By plain gradient descent at rate 1 the way that weights go is the direction itself."""
    monkeypatch.setattr(compiled, "load_or_compile", as_traced)
    suite = lines()
    made = maml(suite)._replace(optimizer=lambda leaves: torch.optim.SGD(leaves, lr=1.0))
    batch, way = tasks_of(suite, 3), {}
    for clip_norm in (0.0, 1e-3, 1e6):
        learner = BatchedLearner(made, strategy(), suite._replace(clip_norm=clip_norm))
        before = flatten(map_tree(torch.clone, learner.meta))[0]
        learner.update(batch, 0.0)
        way[clip_norm] = torch.cat([(a - b).flatten() for a, b in zip(before, flatten(learner.meta)[0], strict=True)])
    assert torch.equal(way[1e6], way[0.0])
    assert float(way[1e-3].norm()) == pytest.approx(1e-3)
    assert torch.allclose(way[1e-3] / 1e-3, way[0.0] / way[0.0].norm())
