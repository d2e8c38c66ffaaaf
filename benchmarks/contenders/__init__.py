"""Who takes part: one file a library, imported only by the worker that runs it."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.workloads import Arrays, Workload


class Unsupported(Exception):  # noqa: N818
    """A library does not do this work; the message says what is missing."""


class Contender(Protocol):
    """One way to do a workload: made with `(workload, arrays, threads)`, its weights the initial ones.

    One with a method `settle` chooses the number of threads that suits it, before it is timed, and returns it.
    """

    def gradient(self) -> dict[str, np.ndarray]:
        """The mean direction over the tasks at the INITIAL weights, by the torch module's names."""
        ...

    def update(self) -> None:
        """One whole meta-update on the tasks, the outer optimiser's step included; returns when it is done."""
        ...

    def adapt(self) -> np.ndarray:
        """Adapt the present weights to the first task, nothing kept for meta-training; outputs on its query."""
        ...


class Entry(NamedTuple):
    """Where a contender is written, and the folder under .bench/ that its process needs."""

    name: str
    place: str
    """`module:Class` in this package."""
    folder: str = ""
    main: bool = False
    """Whether the comparison is about it: it takes part everywhere, with more timed updates than the others."""
    patient: bool = False
    """Whether it takes part beside the main ones where an update takes seconds."""

    def takes_part(self, workload: Workload) -> bool:
        """Whether it is compared on a workload; some are left out where they would say nothing new."""
        if workload.few and not (self.main or self.patient):
            return False
        return workload.rematerialised or self.name != "metabench rematerialised"


ENTRIES = (
    Entry("metabench vectorised", "metabench:Vectorised"),
    Entry("metabench compiled", "metabench:Compiled"),
    Entry("metabench threaded", "metabench:Threaded", main=True),
    Entry("metabench plain layers", "metabench:PlainLayers"),
    Entry("metabench rematerialised", "metabench:Rematerialised", patient=True),
    Entry("learn2learn", "learn2learn:Learn2learn", main=True),
    Entry("PyTorch loop", "handwritten:Loop", patient=True),
    Entry("torch.func", "handwritten:Vmap"),
    Entry("parallel-metalearn vmap", "parallel_metalearn:Vmap", "parallel-metalearn"),
    Entry("parallel-metalearn sequential", "parallel_metalearn:Sequential", "parallel-metalearn"),
    Entry("JAX vmap", "jax_contender:Vmap", "jax"),
    Entry("JAX loop", "jax_contender:Loop", "jax"),
)


def module(name: str) -> Any:
    """The module in which the contender of that name is written. Raises ImportError without its library."""
    place = next(entry.place for entry in ENTRIES if entry.name == name)
    return importlib.import_module(f"{__name__}.{place.partition(':')[0]}")


def make(name: str, workload: Workload, arrays: Arrays, threads: int) -> Contender:
    """The contender of that name, ready for its first update. Raises Unsupported or ImportError."""
    place = next(entry.place for entry in ENTRIES if entry.name == name)
    return getattr(module(name), place.partition(":")[2])(workload, arrays, threads)
