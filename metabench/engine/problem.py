"""A suite's `nn.Module` as pure functions of its weights: the Problem of one trial."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn

from metabench.api import Batch, Params, Pool, Predict, Problem, Suite
from metabench.api.collecting import collected
from metabench.api.gathering import sent
from metabench.api.trees import Shaped, map_tree
from metabench.engine.attention import Attention
from metabench.engine.blocks.fuse import fuse
from metabench.engine.blocks.patches import ENABLED, patched
from metabench.engine.functional import FunctionalModule
from metabench.engine.guards import refuse_lost, refuse_unsteady
from metabench.engine.layers import layers_of
from metabench.engine.seeds import derive_seed, random_generator
from metabench.records.trials import Precision

DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}
"""Of weights, losses and data, by precision."""


def build_problem(
    suite: Suite,
    seed: int,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: Precision = "float32",
) -> Problem:
    """The problem that every algorithm is given on this suite at this seed.

    With `precision` bf16 the model's layers compute in bfloat16 where torch's autocast deems it safe, and those
    that normalise in float32, from weights that stay in `dtype` to outputs that are in it again.

    The model is tried on two training tasks. Raises UserError for one that cannot be a function of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        module = suite.model()
    refuse_lost(module)

    def wrap(extend: Callable[[nn.Module], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "wrap"))
            return extend(copy.deepcopy(module))

    tasks = to_device_dtype(suite.sample("train", 2, random_generator(seed, "guards")), device, dtype)
    mine, other = (map_tree(lambda leaf, i=i: leaf[i].clone(), tasks.support) for i in range(2))
    module = moved(module, device, dtype)
    inputs = mine.x

    def use(module: nn.Module, batch: Batch) -> list[Tensor]:
        found: list[Tensor] = []

        def predict(x: Tensor) -> Tensor:
            nonlocal inputs
            inputs = x
            found.append(module(x))
            return found[-1]

        return [suite.loss(predict, collected(suite, predict, batch)), *found]

    refuse_unsteady(module, use, mine, other)
    return problem_around(suite, module, seed, (wrap, inputs), precision)


def problem_around(
    suite: Suite,
    module: nn.Module,
    seed: int,
    wrapping: tuple[Callable[[Callable[[nn.Module], nn.Module]], nn.Module], Tensor],
    precision: Precision = "float32",
) -> Problem:
    """The problem of a given module, whose weights are the initial ones.

    `wrapping` extends a module as the suite made it, and is an input to it.
    """
    wrap, inputs = wrapping
    layers = layers_of(module, partial(forward, x=inputs), suite.head)
    if precision == "bf16":
        normalise_in_full(module)
    initial = {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}
    device, dtype = next(iter(initial.values())).device, next(iter(initial.values())).dtype
    per_thread = threading.local()
    quick = quick_layers(device.type)  # as this thread says, for all of them

    def own() -> FunctionalModule:
        """This thread's own, since weights are swapped in place; those that it was built with are in memory once."""
        return FunctionalModule(quick(copy.deepcopy(module, {id(weight): weight for weight in module.parameters()})))

    per_thread.module = own()

    def apply(params: Params, x: Tensor) -> Tensor:
        if not hasattr(per_thread, "module"):
            per_thread.module = own()
        if precision != "bf16":
            outputs: Tensor = per_thread.module(params, x)
            return outputs
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            outputs = per_thread.module(params, x)
            return outputs.to(dtype)

    def rewrap(extend: Callable[[nn.Module], nn.Module]) -> Problem:
        wide = moved(wrap(extend), device, dtype)
        named = suite.head if suite.head in dict(wide.named_modules()) else ""
        return problem_around(suite._replace(head=named), wide, seed, wrapping, precision)

    def loss(params: Params, batch: Batch) -> Tensor:
        return suite.loss(lambda x: apply(params, x), batch)

    return Problem(
        init=lambda: {name: weight.clone() for name, weight in initial.items()},
        apply=apply,
        loss=loss,
        criterion=suite.loss,
        module=lambda: frozen_as_buffers(copy.deepcopy(module)),
        head=layers.head,
        layers=layers.by_name,
        ways=suite.ways,
        wrap=rewrap,
        pool=pool_to_device(suite.pool(), device, dtype) if suite.pool else None,
        generator=lambda name: random_generator(seed, "algorithm", name),
        step_points=suite.step_points,
        later_lr=suite.later_lr,
        acting=suite.acting,
    )


def quick_layers(device: str) -> Callable[[nn.Module], nn.Module]:
    """What puts quicker layers into a module, on this kind of device."""
    return patched if device == "cuda" and ENABLED.get() else fuse


def forward(module: nn.Module, x: Tensor) -> Tensor:
    """Outputs whose graph tells what is made of the inputs and what of weights alone, unless inputs are integers."""
    x = x.detach()
    with Attention():
        outputs: Tensor = module(x.requires_grad_() + 0 if x.is_floating_point() else x)
    return outputs


def moved(module: nn.Module, device: str | torch.device, dtype: torch.dtype) -> nn.Module:
    """The module on a device, its floating-point tensors in a dtype; complex buffers stay complex."""
    wide = torch.complex128 if dtype == torch.float64 else torch.complex64

    def convert(value: Tensor) -> Tensor:
        kind = dtype if value.is_floating_point() else wide if value.is_complex() else value.dtype
        return value.to(device=device, dtype=kind)

    module._apply(convert)  # type: ignore[no-untyped-call]
    return module


def frozen_as_buffers(module: nn.Module) -> nn.Module:
    """The module, its frozen parameters made buffers: whoever asks for its parameters gets those to learn alone."""
    for layer in module.modules():
        for name, weight in list(layer._parameters.items()):
            if weight is not None and not weight.requires_grad:
                del layer._parameters[name]
                layer.register_buffer(name, weight.detach())
    return module


def normalise_in_full(module: nn.Module) -> None:
    """Let layers that normalise take their input in float32, under autocast too.

    Their sums need it, and torch's batching rule for BatchNorm has no backward for a mixture of dtypes.
    """
    for layer in module.modules():
        if isinstance(layer, NORMS):
            layer.register_forward_pre_hook(lambda layer, given: tuple(each.float() for each in given))


NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def pool_to_device(pool: Pool, device: torch.device, dtype: torch.dtype) -> Pool:
    """The pool with its samples where the weights are."""

    def sample(n: int, generator: Generator) -> Batch:
        return to_device_dtype(pool.sample(n, generator), device, dtype)

    return pool._replace(sample=sample)


def to_device_dtype(tree: Shaped, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Shaped:
    """Tasks on a device, which is not waited for, their floating-point tensors in a dtype."""
    device = torch.device(device)

    def convert(leaf: Tensor) -> Tensor:
        there = sent(leaf, device) if leaf.device.type == "cpu" else leaf.to(device)
        return there.to(dtype if leaf.is_floating_point() else leaf.dtype)

    return map_tree(convert, tree)


def inductive(predict: Predict, support_x: Tensor) -> Predict:
    """The predictor that sees each query point (q, ...) with the support set alone.

    Nichol et al. 2018, arXiv 1803.02999, section 6.1: no information passes between query points through
    BatchNorm.
    """

    def alone(point: Tensor) -> Tensor:
        return predict(torch.cat([support_x, point[None]]))[-1]

    batched = torch.vmap(alone, chunk_size=64)

    def each(x: Tensor) -> Tensor:
        try:
            return batched(x)
        except RuntimeError:  # such as a recurrent layer, which has no batching rule
            if torch._C._are_functorch_transforms_active():
                raise
            return torch.stack([alone(point) for point in x])

    return each
