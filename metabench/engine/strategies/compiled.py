"""The compiled strategy: a whole meta-update of a batch of tasks as one program, kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock
from torch import Tensor, nn

from metabench.api import MetaGradFn, Task
from metabench.api.trees import flatten, unflatten
from metabench.engine.outer_loop import OuterLoop
from metabench.engine.strategies.vectorised import Vectorised
from metabench.errors import one_line
from metabench.records.files import cache_dir

Program = Callable[[list[Tensor]], list[Tensor]]

COMPILE_SECONDS, COMPILE_OPERATION = 15.0, 0.03
"""What a compilation takes on a machine that has not done it yet: so many seconds, and so many for each operation."""
DISPATCH_SECONDS = 12e-6
"""What one operation under vmap costs before it computes anything; compiling saves most of it."""

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA is no news


class Compiled(Vectorised):
    """vmap and the optimiser's step, traced once and compiled: no Python and few kernels are left in an update.

    What cannot be traced (an algorithm that branches on `progress`) or compiled (no C++ compiler) runs
    vectorised instead, and `problem` says why. Adaptation is vectorised.
    """

    costly = True

    def __init__(self, chunk: int = 64) -> None:
        super().__init__(chunk)
        self.programs: dict[Any, Program | None] = {}
        self.problem = ""

    @classmethod
    def make(cls, threads: int, rematerialise: bool, plain_layers: bool) -> Self:
        """See Strategy. A program has no use for threads that run chunks."""
        return cls()

    @property
    def name(self) -> str:
        """What it is in effect."""
        return "vectorised" if self.problem else "compiled"

    def step(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task, progress: float) -> Tensor:
        """See Strategy. A first step that makes the optimiser's state is vectorised."""
        program, moments = self.program(direction, outer, tasks), outer.moments()
        if program is None or len(moments) != self.moments:
            return super().step(direction, outer, tasks, progress)
        scalars = as_tensors([progress, *outer.rates(progress)], outer.leaves[0])
        return program([*outer.leaves, *moments, *contiguous(tasks), *scalars])[0]

    def program(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> Program | None:
        """The program for tasks of these shapes, made when it is first asked for; None if there can be none."""
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in flatten(tasks)[0])
        if shapes not in self.programs:
            super().mean(direction, outer.meta, tasks, 0.0)  # an error in the algorithm is not the compiler's
            try:
                self.programs[shapes] = load_or_compile(*self.trace(direction, outer, tasks))
            except Exception as error:  # whatever the compiler says, there is a way that gives the same numbers
                self.problem = one_line(error)[:300]
                self.programs[shapes] = None
        return self.programs[shapes]

    def prepare(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """See Strategy."""
        self.program(direction, outer, tasks)

    def not_worth(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task, best: float, updates: int) -> str:
        """See Strategy."""
        try:
            graph, inputs = self.trace(direction, outer, tasks)
        except Exception as error:
            return f"cannot be traced: {one_line(error)[:300]}"
        operations, known = len(graph.graph.nodes), package_of(graph, inputs).exists()
        saved = min(best, operations * DISPATCH_SECONDS) * updates
        cost = 0.0 if known else COMPILE_SECONDS + COMPILE_OPERATION * operations
        if saved < max(cost, 0.2 * best * updates):
            return f"not compiled: that saves some {saved:.0f} s of {best * updates:.0f} s, for {cost:.0f} s"
        return ""

    def trace(
        self, direction: MetaGradFn, outer: OuterLoop, tasks: Task
    ) -> tuple[torch.fx.GraphModule, list[Tensor]]:
        """The step as a graph of tensor operations, some of them in place, and inputs to it.

        The inputs are the meta-parameters, the optimiser's tensors, the tasks, the progress and the rates.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        outer = outer.traceable()
        moments, spec = outer.moments(), flatten(tasks)[1]
        self.moments = len(moments)
        rates = as_tensors(outer.rates(0.0), outer.leaves[0])
        inputs = [*outer.leaves, *moments, *contiguous(tasks), *as_tensors([0.0], outer.leaves[0]), *rates]

        def step(*inputs: Tensor) -> Tensor:
            given = inputs[len(outer.leaves) + len(moments) :]
            *leaves, progress = given[: -len(rates)]
            loss, mean = self.mean(direction, outer.meta, unflatten(leaves, spec), progress)  # type: ignore[arg-type]
            outer.step(mean, list(given[-len(rates) :]))
            return loss

        for rate in rates:
            rate.requires_grad_()  # torch's SGD then multiplies by it, where it would ask for its value
        graph = make_fx(step)(*inputs)
        return graph, [leaf.detach() for leaf in inputs]


def as_tensors(numbers: list[float], like: Tensor) -> list[Tensor]:
    """Scalars as the program takes them."""
    return [torch.tensor(number, dtype=like.dtype, device=like.device) for number in numbers]


def contiguous(tasks: Task) -> list[Tensor]:
    """The leaves of the tasks in the layout that the program was made for."""
    return [leaf.contiguous() for leaf in flatten(tasks)[0]]


class Graph(nn.Module):
    """A traced graph with the signature that `torch.export` wants."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Tensor) -> Tensor:
        """See the graph."""
        loss: Tensor = self.graph(*inputs)
        return loss


def package_of(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Path:
    """Where the program of a graph is kept: by all that it depends on, this machine and torch included."""
    digest = hashlib.sha256(graph.code.encode())
    constants = [*graph.parameters(), *graph.buffers()]
    for tensor in (*inputs, *constants):
        digest.update(f"{tensor.shape} {tensor.dtype} {tensor.device}".encode())
    for tensor in constants:
        digest.update(tensor.detach().cpu().numpy().tobytes())
    device = inputs[0].device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    digest.update(f"{torch.__version__} {name} {platform.machine()} {torch.get_num_threads()}".encode())
    return cache_dir() / "compiled" / f"{digest.hexdigest()[:32]}.pt2"


def load_or_compile(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Program:
    """The program of a graph: from the disk in milliseconds, or compiled, which takes half a minute and more."""
    path = package_of(graph, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # trials side by side want the same one
        if path.exists():
            with suppress(Exception):  # damaged, or of no use here: made again
                return load(path)
        compile_to(path, graph, inputs)
        return load(path)


def load(path: Path) -> Program:
    """The program in a file, without a wrapper that small programs would feel."""
    import torch._inductor

    return torch._inductor.aoti_load_package(str(path)).loader.run


def compile_to(path: Path, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> None:
    """Compile a graph ahead of time (AOTInductor) into a file that appears when it is whole, and has been loaded."""
    import torch._inductor
    from torch._inductor import config

    temporary = path.with_suffix(f".{os.getpid()}.pt2")
    # vec_isa_ok: torch would try every vector extension in a process of its own, for a third of the whole time.
    with warnings.catch_warnings(), config.patch({"cpp.vec_isa_ok": True, "compile_threads": 1}):
        warnings.simplefilter("ignore")
        exported = torch.export.export(Graph(graph), tuple(inputs))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(temporary))
    try:
        try_loading(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def try_loading(path: Path) -> None:
    """Load a program in a process of its own; raises RuntimeError where that ends it.

    torch's loader has ended processes with a signal: torch 2.11, CPU programs on a machine with a CUDA device.
    """
    code = "import sys, torch._inductor as inductor; inductor.aoti_load_package(sys.argv[1])"
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"a process that loaded the program ended with exit code {ended.returncode}. {said}")


STRATEGY = Compiled
