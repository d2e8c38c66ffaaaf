"""The captured strategy: the direction of a whole batch of tasks as one CUDA graph, replayed at every update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from metabench.api import Meta, MetaGradFn, Task
from metabench.api.trees import flatten, map_tree, unflatten
from metabench.engine.outer_loop import OuterLoop
from metabench.engine.strategies.vectorised import Vectorised
from metabench.errors import one_line

Result = TypeVar("Result")

WARM_UP = 2
"""Runs before a capture: libraries choose their kernels and take their workspace."""


class Captured(Vectorised):
    """vmap, its kernels recorded once and launched together: an update costs the CPU next to nothing.

    A GPU does the arithmetic of a small network in less time than Python takes to ask for it. What cannot be captured
    (an algorithm that branches on `progress`, or reads a value off the device) runs vectorised instead, and `problem`
    says why. Adaptation is vectorised, and the optimiser's step is its own.
    """

    device: ClassVar[str] = "cuda"

    def __init__(self, chunk: int = 0) -> None:
        super().__init__(chunk)  # with one thread: another one would not launch into the capture
        self.graphs: dict[Any, Graph | None] = {}
        self.problem = ""

    @classmethod
    def make(cls, threads: int, rematerialise: bool, plain_layers: bool) -> Self:
        """See Strategy."""
        return cls()

    @property
    def name(self) -> str:
        """What it is in effect."""
        return "vectorised" if self.problem else "captured"

    def step(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task, progress: float) -> Tensor:
        """See Strategy."""
        graph = self.graph(direction, outer, tasks)
        if graph is None:
            return super().step(direction, outer, tasks, progress)
        loss, mean = graph.replay(tasks, progress)
        outer.step(mean, outer.rates(progress))
        return loss.clone()  # the next replay writes over it

    def prepare(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """See Strategy."""
        self.graph(direction, outer, tasks)

    def graph(self, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> Graph | None:
        """The graph for tasks of these shapes, made when it is first asked for; None if there can be none."""
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in flatten(tasks)[0])
        if shapes not in self.graphs:
            self.mean(direction, outer.meta, tasks, 0.0)  # an error in the algorithm is not the capture's
            try:
                self.graphs[shapes] = Graph(self, direction, outer, tasks)
            except Exception as error:  # whatever torch says, there is a way that gives the same numbers
                self.problem = one_line(error)[:300]
                self.graphs[shapes] = None
        return self.graphs[shapes]


class Graph:
    """A captured direction. Its inputs and outputs stay where they are, and so must the meta-parameters."""

    def __init__(self, strategy: Vectorised, direction: MetaGradFn, outer: OuterLoop, tasks: Task) -> None:
        """Raises RuntimeError for what cannot be captured."""
        device = outer.leaves[0].device
        leaves, spec = flatten(tasks)
        self.inputs = [leaf.clone() for leaf in leaves]
        self.progress = torch.zeros((), dtype=outer.leaves[0].dtype, device=device)

        def run() -> tuple[Tensor, Meta]:
            given: float = self.progress  # type: ignore[assignment]
            loss, mean = strategy.mean(direction, outer.meta, unflatten(self.inputs, spec), given)
            return loss, map_tree(Tensor.contiguous, mean)

        self.again, self.outputs = capture(run, device)

    def replay(self, tasks: Task, progress: float) -> tuple[Tensor, Meta]:
        """The mean loss and direction, in memory that the next replay writes into."""
        for static, leaf in zip(self.inputs, flatten(tasks)[0], strict=True):
            static.copy_(leaf, non_blocking=True)
        self.progress.fill_(progress)
        self.again()
        return self.outputs


def capture(run: Callable[[], Result], device: torch.device) -> tuple[Callable[[], None], Result]:
    """A function that computes `run` again into the tensors that it gave, which come with it.

    Raises RuntimeError for what cannot be captured.
    """
    if device.type != "cuda":
        raise RuntimeError(f"a CUDA device is needed, and the weights are on '{device}'")
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run()
            with refusing_to_wait():  # a capture that fails half-way leaves more behind
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            outputs = run()
    return graph.replay, outputs


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    """Inside it torch raises RuntimeError where the CPU would wait for a value from the device."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not see every wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


STRATEGY = Captured
