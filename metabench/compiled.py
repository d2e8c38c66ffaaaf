"""The compiled strategy: the whole meta-gradient of a batch of tasks as one program, kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from filelock import FileLock
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from metabench.api import Meta, Task
from metabench.data import cache_dir
from metabench.strategies import Direction, Vectorised
from metabench.trees import flatten, unflatten

Program = Callable[[list[Tensor]], list[Tensor]]

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA is no news


class Compiled(Vectorised):
    """vmap, traced once and compiled by TorchInductor: no Python and few kernels are left in an update.

    What cannot be traced (an algorithm that branches on `progress`) or compiled (no C++ compiler) runs
    vectorised instead, and `problem` says why. Adaptation is vectorised.
    """

    def __init__(self, chunk: int = 64) -> None:
        super().__init__(chunk)
        self.programs: dict[Any, Program | None] = {}

    @property
    def name(self) -> str:
        """What it is in effect."""
        return "vectorised" if self.problem else "compiled"

    def mean(self, direction: Direction, meta: Meta, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """See Mapper."""
        tensors, spec = as_inputs(meta, tasks, progress)
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if shapes not in self.programs:
            self.programs[shapes] = self.build(direction, tensors, spec)
        program = self.programs[shapes]
        if program is None:
            return super().mean(direction, meta, tasks, progress)
        loss, *leaves = program(tensors)
        return loss, unflatten(leaves, flatten(meta)[1])

    def graph(self, direction: Direction, meta: Meta, tasks: Task) -> tuple[int, bool] | str:
        """How many operations a program for such tasks has and whether it is on disk; or why there can be none."""
        try:
            tensors, spec = as_inputs(meta, tasks, 0.0)
            self.flat(direction, tensors, spec)
            graph = self.trace(direction, tensors, spec)
            return len(graph.graph.nodes), package_of(graph, tensors).exists()
        except Exception as error:
            return one_line(error)

    def build(self, direction: Direction, tensors: list[Tensor], spec: Any) -> Program | None:
        """The program for tensors of these shapes; None if there can be none."""
        self.flat(direction, tensors, spec)  # an error here is the author's; and what is made lazily is made now
        try:
            return load_or_compile(self.trace(direction, tensors, spec), tensors)
        except Exception as error:  # whatever the compiler says, the other way gives the same numbers
            self.problem = one_line(error)
            return None

    def trace(self, direction: Direction, tensors: list[Tensor], spec: Any) -> torch.fx.GraphModule:
        """`flat` as a graph of tensor operations, of which no Python is left."""
        return make_fx(lambda *inputs: self.flat(direction, inputs, spec))(*tensors)

    def flat(self, direction: Direction, tensors: Sequence[Tensor], spec: Any) -> tuple[Tensor, ...]:
        """Leaves of meta and tasks, progress -> the loss, the leaves of the mean direction."""
        meta, tasks = unflatten(list(tensors[:-1]), spec)
        loss, mean = super().mean(direction, meta, tasks, tensors[-1])  # type: ignore[arg-type]
        return loss, *flatten(mean)[0]


def one_line(error: Exception) -> str:
    """What went wrong, in at most a few hundred characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def as_inputs(meta: Meta, tasks: Task, progress: float) -> tuple[list[Tensor], Any]:
    """What a program takes: the leaves of meta and of the tasks, and the progress as a tensor."""
    leaves, spec = flatten((meta, tasks))
    scalar = torch.tensor(progress, dtype=leaves[0].dtype, device=leaves[0].device)
    return [leaf.contiguous() for leaf in (*leaves, scalar)], spec


class Graph(nn.Module):
    """A traced graph with the signature that `torch.export` wants."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the graph."""
        return self.graph(*inputs)


def package_of(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Path:
    """Where the program of a graph is kept: by all that it depends on, this machine and torch included."""
    digest = hashlib.sha256(graph.code.encode())
    for tensor in (*inputs, *graph.state_dict().values()):
        digest.update(f"{tensor.shape} {tensor.dtype} {tensor.device}".encode())
    for tensor in graph.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    device = inputs[0].device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    digest.update(f"{torch.__version__} {machine} {platform.machine()} {torch.get_num_threads()}".encode())
    return cache_dir() / "compiled" / f"{digest.hexdigest()[:32]}.pt2"


def load_or_compile(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Program:
    """The program of a graph: from the disk in milliseconds, or compiled, which takes some 20 seconds."""
    path = package_of(graph, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # trials side by side want the same one
        if not path.exists():
            compile_to(path, graph, inputs)
    return torch._inductor.aoti_load_package(
        str(path)
    ).loader.run  # past a wrapper that is slower than small programs


def compile_to(path: Path, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> None:
    """Compile a graph ahead of time (AOTInductor) into a file that appears when it is whole."""
    from torch._inductor import config

    temporary = path.with_suffix(f".{os.getpid()}.pt2")
    # vec_isa_ok: torch would try every vector extension in a process of its own, for half of the whole time.
    with warnings.catch_warnings(), config.patch({"cpp.vec_isa_ok": True}):
        warnings.simplefilter("ignore")
        exported = torch.export.export(Graph(graph), tuple(inputs))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(temporary))
    os.replace(temporary, path)
