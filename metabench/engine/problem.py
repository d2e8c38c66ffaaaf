"""A suite's `nn.Module` as pure functions of its weights: the Problem of one trial."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from metabench.api import Batch, Params, Pool, Predict, Problem, Suite
from metabench.api.trees import Shaped, map_tree
from metabench.engine.blocks.fuse import fuse
from metabench.engine.functional import FunctionalModule
from metabench.engine.seeds import derive_seed, random_generator
from metabench.errors import UserError
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

    Raises UserError for a model that cannot be batched over tasks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        module = suite.model()

    def wrap(extend: Callable[[nn.Module], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "wrap"))
            return extend(copy.deepcopy(module))

    return problem_around(suite, module.to(device=device, dtype=dtype), seed, wrap, precision)


def problem_around(
    suite: Suite,
    module: nn.Module,
    seed: int,
    wrap: Callable[[Callable[[nn.Module], nn.Module]], nn.Module],
    precision: Precision = "float32",
) -> Problem:
    """The problem of a given module, whose weights are the initial ones."""
    refuse_state(module)
    if precision == "bf16":
        normalise_in_full(module)
    initial = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    device, dtype = next(iter(initial.values())).device, next(iter(initial.values())).dtype
    per_thread = threading.local()  # weights are swapped in place: one module a thread
    per_thread.module = FunctionalModule(fuse(copy.deepcopy(module)))

    def apply(params: Params, x: Tensor) -> Tensor:
        if not hasattr(per_thread, "module"):
            per_thread.module = FunctionalModule(fuse(copy.deepcopy(module)))
        if precision != "bf16":
            outputs: Tensor = per_thread.module(params, x)
            return outputs
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            outputs = per_thread.module(params, x)
            return outputs.to(dtype)

    def rewrap(extend: Callable[[nn.Module], nn.Module]) -> Problem:
        return problem_around(suite, wrap(extend).to(device=device, dtype=dtype), seed, wrap, precision)

    def loss(params: Params, batch: Batch) -> Tensor:
        return suite.loss(lambda x: apply(params, x), batch)

    return Problem(
        init=lambda: {name: weight.clone() for name, weight in initial.items()},
        apply=apply,
        loss=loss,
        criterion=suite.loss,
        module=lambda: copy.deepcopy(module),
        head=head_names(module),
        ways=suite.ways,
        wrap=rewrap,
        pool=pool_to_device(suite.pool(), device, dtype) if suite.pool else None,
        generator=lambda name: random_generator(seed, "algorithm", name),
    )


def refuse_state(module: nn.Module) -> None:
    """Raise UserError for layers whose output depends on more than their input and weights."""
    for name, layer in module.named_modules():
        if getattr(layer, "track_running_stats", False):
            raise UserError(
                f"Layer '{name}' ({type(layer).__name__}) keeps running statistics, which would leak from task "
                "to task. Build it with track_running_stats=False."
            )
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise UserError(
                f"Layer '{name}' ({type(layer).__name__}) draws random numbers, so a task would depend on the "
                "tasks before it. Leave dropout out."
            )
    if not any(True for _ in module.parameters()):
        raise UserError(f"The model {type(module).__name__} has no parameters to learn.")


def normalise_in_full(module: nn.Module) -> None:
    """Let layers that normalise take their input in float32, under autocast too.

    Their sums need it, and torch's batching rule for BatchNorm has no backward for a mixture of dtypes.
    """
    for layer in module.modules():
        if isinstance(layer, NORMS):
            layer.register_forward_pre_hook(lambda layer, given: tuple(each.float() for each in given))


NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def head_names(module: nn.Module) -> tuple[str, ...]:
    """The names of the parameters that belong to the last layer that has any."""
    layer = ""
    for name, child in module.named_modules():
        if next(child.parameters(recurse=False), None) is not None:
            layer = name
    return tuple(name for name, _ in module.named_parameters() if name.rpartition(".")[0] == layer)


def pool_to_device(pool: Pool, device: torch.device, dtype: torch.dtype) -> Pool:
    """The pool with its samples where the weights are."""

    def sample(n: int, generator: Generator) -> Batch:
        return to_device_dtype(pool.sample(n, generator), device, dtype)

    return pool._replace(sample=sample)


def to_device_dtype(tree: Shaped, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Shaped:
    """Tasks on a device, their floating-point tensors in a dtype."""
    return map_tree(
        lambda leaf: leaf.to(device=device, dtype=dtype if leaf.is_floating_point() else leaf.dtype), tree
    )


def inductive(predict: Predict, support_x: Tensor) -> Predict:
    """The predictor that sees each query point (q, ...) with the support set alone.

    Nichol et al. 2018, arXiv 1803.02999, section 6.1: no information passes between query points through
    BatchNorm.
    """

    def alone(point: Tensor) -> Tensor:
        return predict(torch.cat([support_x, point[None]]))[-1]

    return torch.vmap(alone, chunk_size=64)
