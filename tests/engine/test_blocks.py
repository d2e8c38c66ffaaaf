"""A block computes what its layers compute, to the second derivative; where it cannot, the layers run."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metabench.api import Algorithm, Batch, NotApplicableError, Suite, Task
from metabench.api.autodiff import grad
from metabench.api.trees import flatten, map_tree
from metabench.engine.blocks import build
from metabench.engine.blocks.build import NoBlocksError, load_blocks
from metabench.engine.blocks.function import Settings, Sized, Stack
from metabench.engine.blocks.fuse import fuse, running, weights_dtype
from metabench.engine.learner import BatchedLearner, adapt_fully
from metabench.engine.problem import build_problem
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.engine.strategies.base import by_rule
from metabench.engine.strategies.threaded import Threaded
from metabench.records.trials import Budget, Execution
from metabench.registry.discovery import Entry, Plugin, Registry
from metabench.registry.parameters import signature_of
from metabench.testing.toy_suites import lines
from tests import builders

FILTERS = 8
"""That fill a vector of 64 bytes in float64."""
try:
    BLOCKS = load_blocks(torch.float64)
except NoBlocksError as problem:
    pytest.skip(f"no blocks here: {problem}", allow_module_level=True)

shapes = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(3, 5), st.integers(3, 6))


def layers(channels: int, stride: int = 1, pool: bool = False, slope: float = 0.0, filters: int = FILTERS):
    """A convolution, BatchNorm with scales of either sign, an activation, perhaps a pool."""
    conv = nn.Conv2d(channels, filters, 3, stride, padding=1)
    norm = nn.BatchNorm2d(filters, eps=1e-3, track_running_stats=False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return [conv, norm, nn.LeakyReLU(slope) if slope else nn.ReLU(), *[nn.MaxPool2d(2)] * pool]


def second_order(module: nn.Module, x: torch.Tensor, seed: int = 0) -> list[torch.Tensor]:
    """The output, its gradients by input and weights, and the gradients of a function of those."""
    x = x.clone().requires_grad_()
    leaves, generator = [x, *module.parameters()], torch.Generator().manual_seed(seed)
    random = lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)  # noqa: E731
    out = module(x)
    first = torch.autograd.grad((out.sin() * random(out)).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum((each.sin() * random(each)).sum() for each in first), leaves)
    return [out, *first, *second]


def both(module: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], bool]:
    """`second_order` of the plain layers and of the blocks, and whether a block ran."""
    module = fuse(module.double())
    plain = second_order(module, x.double())
    BLOCKS.used = False
    with running(BLOCKS):
        return plain, second_order(module, x.double()), BLOCKS.used


def close(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """To 1e-11 of the largest: small elements are sums of large ones, and have their rounding."""
    assert all(a.isfinite().all() for a in one)
    pairs = zip(one, other, strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=1e-10 + 1e-11 * float(a.detach().abs().max())) for a, b in pairs)


@settings(max_examples=8)
@given(shapes, st.sampled_from([1, 2]), st.booleans(), st.sampled_from([0.0, 0.2]), st.integers(0, 999))
def test_derivatives_are_those_of_finite_differences(shape, stride, pool, slope, seed):
    torch.manual_seed(seed)
    conv, norm, *_ = nn.Sequential(*layers(shape[1], stride)).double()
    inputs = [torch.randn(shape, dtype=torch.float64), conv.weight, norm.weight, norm.bias]
    inputs = [each.detach().requires_grad_() for each in inputs]

    def block(x, w, gamma, beta):
        sized = Sized(Settings(stride, pool, 1e-3, slope), x.shape, len(w))
        return Stack.apply(x, [sized], BLOCKS, w, None, gamma, beta)[0]

    assert torch.autograd.gradcheck(block, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(block, inputs, fast_mode=True)


@settings(max_examples=25)
@given(shapes, st.sampled_from([1, 2]), st.booleans(), st.sampled_from([0.0, 0.2]), st.integers(0, 999))
def test_a_block_is_its_layers(shape, stride, pool, slope, seed):
    torch.manual_seed(seed)
    plain, block, used = both(nn.Sequential(*layers(shape[1], stride, pool, slope)), torch.randn(shape))
    assert close(plain, block)
    assert used


@settings(max_examples=10)
@given(shapes, st.integers(0, 999))
def test_of_equal_maxima_the_first_counts_as_in_torch(shape, seed):
    torch.manual_seed(seed)
    module = nn.Sequential(*layers(shape[1], 1, pool=True))
    with torch.no_grad():
        module[0].weight.copy_(
            torch.randint(-1, 2, module[0].weight.shape)
        )  # so that sums are exact, and often equal
        module[0].bias.zero_()
        module[1].weight[:2] = torch.tensor([0.0, -1.0])
    plain, block, _ = both(module, torch.randint(0, 2, shape).float())
    assert close(plain, block)


def test_odd_sizes_and_several_channels_of_every_width():
    """21 to 10 as with images of 84 pixels; inputs wider and narrower than a vector; 24 and 64 filters."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *layers(5, pool=True, filters=24), *layers(24, stride=2, filters=64), *layers(64, filters=8)
    )
    plain, block, _ = both(module, torch.randn(2, 5, 21, 21))
    assert close(plain, block)


@settings(max_examples=6)
@given(st.integers(6, 9), st.integers(6, 11), st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_where_channels_fill_vectors_it_goes_by_tiles_and_is_the_same(height, width, n, pool, seed):
    """Tiles of 2 by 2 that end inside and beyond the image; fewer than are taken at a time, and more."""
    torch.manual_seed(seed)
    module = nn.Sequential(*layers(2 * FILTERS, pool=pool, filters=3 * FILTERS), *layers(3 * FILTERS))
    plain, block, used = both(module, torch.randn(n, 2 * FILTERS, height, width))
    assert close(plain, block)
    assert used


def test_kernels_of_one_pixel_and_weights_that_fill_no_cache():
    """As in residual networks: a shortcut without an activation; so many weights that small images go by tiles."""
    torch.manual_seed(0)
    shortcut = [nn.Conv2d(5, 33 * FILTERS, 1), nn.BatchNorm2d(33 * FILTERS, track_running_stats=False)]
    plain, block, used = both(nn.Sequential(*shortcut, *layers(33 * FILTERS, filters=256)), torch.randn(3, 5, 4, 5))
    assert close(plain, block)
    assert used


def test_blocks_that_follow_one_another_are_one_function_and_what_is_between_them_is_not_kept():
    module = fuse(nn.Sequential(*layers(1, pool=True), *layers(FILTERS), nn.Identity(), *layers(FILTERS)).double())
    with running(BLOCKS):
        out = module(torch.randn(2, 1, 8, 8, dtype=torch.float64))
    kept, node = [], out.grad_fn
    while node is not None:
        if hasattr(node, "sized"):
            between = node.saved_tensors[1 + 3 * len(node.sized) :]
            kept.append([each.untyped_storage().nbytes() for each in between])
        node = node.next_functions[0][0]
    assert kept == [[], [8]]  # a number for the name of what is between the first two


def test_below_weights_that_are_not_learned_nothing_is_computed(monkeypatch):
    torch.manual_seed(0)
    module = fuse(nn.Sequential(*layers(1), *layers(FILTERS), *layers(FILTERS)).double())
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    leaves = [each for each in module.parameters() if each.requires_grad]

    def derivatives() -> list[torch.Tensor]:
        first = torch.autograd.grad(module(x).sin().sum(), leaves, create_graph=True)
        return [*first, *torch.autograd.grad(sum(each.sin().sum() for each in first), leaves)]

    plain, ran, call = derivatives(), [], BLOCKS.call
    monkeypatch.setattr(BLOCKS, "call", lambda name, blocks: ran.append((name, len(blocks))) or call(name, blocks))
    with running(BLOCKS):
        assert close(plain, derivatives())
    assert ran == [("forward", 3), ("backward", 2), ("second", 2), ("backward", 2)]


def test_what_is_not_a_number_passes_through():
    module = fuse(nn.Sequential(*layers(1, pool=True)).double())
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    x[0, 0, 3, 3] = float("nan")
    with running(BLOCKS):
        assert module(x).isnan().all()


class Viewed(nn.Module):
    """A body in an nn.Sequential of Sequentials, flattened by `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Sequential(*layers(1)), nn.Sequential(*layers(FILTERS, stride=2)))

    def forward(self, x):
        return self.body(x).view(len(x), -1)


def test_fusing_changes_no_name_and_no_weight():
    module = Viewed()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fused = fuse(module)
    assert list(fused.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in fused.state_dict().items())
    plain, block, used = both(fused, torch.randn(2, 1, 5, 5))
    assert close(plain, block)
    assert used


def replaced(at: int, layer: nn.Module) -> nn.Module:
    every = layers(2, pool=True)
    every[at] = layer
    return nn.Sequential(*every)


OTHERS = {
    "dilated": lambda: replaced(0, nn.Conv2d(2, FILTERS, 3, padding=1, dilation=2)),
    "unpadded": lambda: replaced(0, nn.Conv2d(2, FILTERS, 3)),
    "padded by name": lambda: replaced(0, nn.Conv2d(2, FILTERS, 3, padding="same")),
    "of groups": lambda: replaced(0, nn.Conv2d(2, FILTERS, 3, padding=1, groups=2)),
    "reflecting": lambda: replaced(0, nn.Conv2d(2, FILTERS, 3, padding=1, padding_mode="reflect")),
    "5 by 5": lambda: replaced(0, nn.Conv2d(2, FILTERS, 5, padding=1)),
    "of few filters": lambda: nn.Sequential(*layers(2, filters=FILTERS - 1)),
    "without weights": lambda: replaced(1, nn.BatchNorm2d(FILTERS, affine=False, track_running_stats=False)),
    "instances": lambda: replaced(1, nn.InstanceNorm2d(FILTERS)),
    "hooked": lambda: listened_to(nn.Sequential(*layers(2))),
}


def listened_to(module: nn.Sequential) -> nn.Module:
    module[0].register_forward_hook(lambda layer, given, out: 2 * out)
    return module


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers_run_as_before(name):
    torch.manual_seed(0)
    plain, block, used = both(OTHERS[name](), torch.randn(2, 2, 6, 6))
    assert all(map(torch.equal, plain, block))
    assert not used


FOLLOWING = [nn.MaxPool2d(3), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, ceil_mode=True)]
FOLLOWING += [nn.GELU(), nn.LeakyReLU(-0.1), nn.Identity(), nn.MaxPool2d(2)]


@pytest.mark.parametrize("layer", FOLLOWING, ids=str)
@pytest.mark.parametrize("at", [2, 3])
def test_what_else_follows_follows_the_block(layer, at):
    plain, block, used = both(replaced(at, layer), torch.randn(2, 2, 7, 7))
    assert close(plain, block)
    assert used


def test_transforms_and_autocast_take_the_layers():
    module, x = fuse(nn.Sequential(*layers(1)).double()), torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    BLOCKS.used = False
    with running(BLOCKS):
        torch.vmap(module)(x)
        with torch.autocast("cpu", torch.bfloat16):
            module(x[0])
        assert not BLOCKS.used
        assert torch.equal(module(x[0]), module(x[0].to(memory_format=torch.channels_last)))
    assert BLOCKS.used


def conv4(filters: int = FILTERS) -> nn.Module:
    named = OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers(1, pool=True, filters=filters)))
    return nn.Sequential(OrderedDict(body=nn.Sequential(named), flat=nn.Flatten(), head=nn.Linear(9 * filters, 3)))


def images(model=conv4) -> Suite:
    """Three classes of random 6 by 6 images."""

    def sample(split, n, generator):
        def batch(points):
            y = torch.arange(points).remainder(3).repeat(n, 1)
            return Batch(torch.rand(n, points, 1, 6, 6, generator=generator) + 0.3 * y[..., None, None, None], y)

        return Task(batch(6), batch(9))

    def loss(predict, batch):
        return F.cross_entropy(predict(batch.x), batch.y)

    def metrics(predict, batch):
        return {"accuracy": (predict(batch.x).argmax(-1) == batch.y).float().mean()}

    return Suite(sample, model, loss, metrics, True, ways=3)


def tasks(n: int, dtype=torch.float64) -> Task:
    drawn = images().sample("train", n, random_generator(0, "blocks"))
    return map_tree(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, drawn)


def direction(made: Algorithm, strategy: Threaded, of: Task) -> torch.Tensor:
    learner = BatchedLearner(made, strategy)
    learner.prepare(of)
    loss, meta = learner.direction(of, 0.5)
    return torch.cat([loss.reshape(1), *(leaf.reshape(-1) for leaf in flatten(meta)[0])])


def trained(registry) -> dict[str, Algorithm]:
    """Every installed algorithm that is trained on such images, at its defaults."""
    problem, found = build_problem(images(), 0, dtype=torch.float64), {}
    for name, entry in registry.algorithms.items():
        try:
            made = entry.factory(problem)
        except (NotApplicableError, ImportError):
            continue
        if isinstance(made, Algorithm) and (made.objective or made.meta_grad):
            found[name] = made
    return found


def test_the_direction_of_every_algorithm_is_that_of_the_plain_layers(registry):
    made, blocks = trained(registry), {}
    assert len(made) > 8
    for name, algorithm in made.items():
        strategy = Threaded()
        plain = direction(algorithm, Threaded(plain_layers=True), tasks(2))
        gap = torch.linalg.vector_norm(direction(algorithm, strategy, tasks(2)) - plain)
        assert gap < 1e-10 * torch.linalg.vector_norm(plain), name
        blocks[name] = strategy.layers.startswith("blocks")
    assert sum(blocks.values()) > len(made) - 3, blocks  # some put layers of their own between the model's


def second(problem) -> Algorithm:
    """The gradient of a gradient: an inner loop of one step."""
    from metabench.api import query_loss, sgd

    inner = sgd(problem, 0.1)
    return Algorithm(problem.init, inner, query_loss(problem, inner, 2))


def test_the_bits_do_not_depend_on_threads_or_order():
    problem = build_problem(images(lambda: conv4(16)), 0)
    alone, *others = (direction(second(problem), Threaded(n), tasks(5, torch.float32)) for n in (1, 2, 3))
    assert all(torch.equal(alone, other) for other in others)


def test_one_task_alone_is_adapted_and_predicted_by_blocks_to_the_same_bits():
    problem, few = build_problem(images(), 0, dtype=torch.float64), tasks(3)

    def outputs(plain_layers: bool, first: int, last: int) -> torch.Tensor:
        learner = BatchedLearner(second(problem), Threaded(plain_layers=plain_layers))
        learner.prepare(few)
        support = map_tree(lambda leaf: leaf[first:last], few.support)
        predictors = adapt_fully(learner, support, 2)
        if learner.strategy.blocks:
            learner.strategy.blocks.used = False
        found = [predict(x) for predict, x in zip(predictors, few.query.x[first:last], strict=True)]
        assert plain_layers or learner.strategy.blocks.used
        return torch.stack(found)

    together, alone = outputs(False, 0, 3), torch.cat([outputs(False, i, i + 1) for i in range(3)])
    assert torch.equal(together, alone)
    assert torch.allclose(alone, outputs(True, 0, 3), rtol=1e-10)


def test_third_derivatives_are_refused_and_an_algorithm_that_needs_them_gets_its_layers():
    problem = build_problem(images(), 0, dtype=torch.float64)

    def along(params, batch):
        return sum(each.square().sum() for each in grad(problem.loss)(params, batch).values())

    def objective(meta, task, progress):
        return sum(each.square().sum() for each in grad(along)(meta, task.support).values())

    def outcome(strategy):
        try:
            return direction(made, strategy, tasks(1)).tolist()
        except RuntimeError as error:  # torch's own BatchNorm refuses them from 2.14 on
            return str(error)

    made, strategy = second(problem)._replace(objective=objective), Threaded()
    assert outcome(strategy) == outcome(Threaded(plain_layers=True))
    assert strategy.layers.startswith("plain layers: RuntimeError: ")
    refused = Threaded()
    learner = BatchedLearner(made, refused)
    assert refused.blocks
    with pytest.raises(RuntimeError, match="third derivatives|differentiate twice"):
        learner.direction(tasks(1), 0.0)


@pytest.mark.parametrize(("compiler", "reason"), [("/no/where", "there is no C++ compiler"), ("false", "false")])
def test_without_a_compiler_the_layers_run(monkeypatch, compiler, reason):
    problem = build_problem(images(), 0, dtype=torch.float64)
    plain = direction(second(problem), Threaded(plain_layers=True), tasks(2))
    monkeypatch.setenv("CXX", compiler)
    strategy = Threaded()
    assert torch.equal(direction(second(problem), strategy, tasks(2)), plain)
    assert strategy.layers.startswith("plain layers: ")
    assert reason in strategy.layers


def test_another_processor_gets_the_layers(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(NoBlocksError, match="the processor has no AVX2"):
        load_blocks(torch.float64)


@pytest.mark.slow
def test_with_narrower_vectors_it_is_the_same_and_it_is_compiled_once(monkeypatch, tmp_path):
    problem = build_problem(images(), 0, dtype=torch.float64)
    wide = direction(second(problem), Threaded(), tasks(2))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    for _ in range(2):
        assert torch.allclose(direction(second(problem), Threaded(), tasks(2)), wide, rtol=1e-9, atol=1e-11)
        monkeypatch.setattr(build, "compile_to", None)  # from now on it comes from the disk


def test_the_record_says_what_ran():
    factory = lambda problem, *, inner_lr=0.1: second(problem)  # noqa: E731
    registry = Registry(
        {"second": Entry("algorithm", "second", factory, signature_of(factory, 1), "toys")},
        {"images": Entry("suite", "images", images, {}, "toys"), "lines": Entry("suite", "lines", lines, {}, "toys")},
        (Plugin("toys", "here", "1"),),
    )
    budget = Budget(updates=1, meta_batch_size=1, validations=0, test_tasks=2, test_steps=1)

    def bits(suite: str, **execution) -> str:
        trial = builders.trial("second", suite, budget=budget, precision="float64")
        record = run_trial(trial, Execution(**execution), lambda sign: None, registry).record
        assert record.status == "ok", record.reason
        return record.provenance.bits

    assert f"strategy threaded (blocks {BLOCKS.key})" in bits("images")
    assert "strategy threaded (plain layers: asked for)" in bits("images", plain_layers=True, strategy="threaded")
    assert "strategy vectorised and" in bits("lines")


def test_the_rule_looks_for_convolutions_that_fill_vectors():
    one, wide = torch.zeros(16, 1, 3, 3), torch.zeros(512, 512, 3, 3)
    assert weights_dtype({"a": one}) == weights_dtype({"a": one[:15], "b": wide}) == torch.float32
    assert weights_dtype({"a": one[:15], "b": torch.zeros(16, 16, 1, 1), "c": torch.zeros(16)}) is None
    assert (by_rule({"a": one}), by_rule({"a": one}, plain_layers=True)) == ("threaded", "vectorised")
