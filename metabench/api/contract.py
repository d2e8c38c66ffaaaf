"""The whole contract on one page: what an algorithm and a suite are.

A task is data; an algorithm is pure functions of ONE task; batching is not the author's business.
Shapes: `s` support points, `q` query points, `n` tasks, `...` the shape of one input. The functions are called by
position, so that an author may name their arguments otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn

from metabench.api.acting import Acting, CollectFn
from metabench.api.defaults import constant, no_digest, no_groups, no_notes, nothing_to_prepare
from metabench.api.editions import refuse_edition_1
from metabench.api.trees import Tree
from metabench.records.recipe import Recipe

Params = dict[str, Tensor]
"""A model's weights by name, as `nn.Module.named_parameters` names them."""

Meta = Tree
"""What meta-training learns: weights, step sizes, context ... any tree of float tensors."""

Fast = Tree
"""What the inner loop changes for one task: any tree of tensors."""

Predict = Callable[[Tensor], Tensor]
"""Inputs (q, ...) to outputs (q, ...): logits, regression values, actions."""


class Batch(NamedTuple):
    """Labelled points: inputs `x` (s, ...) and targets `y` (s, ...), class indices as int64."""

    x: Tensor
    y: Tensor


class Task(NamedTuple):
    """What a learner adapts on and what it is then judged on. Many tasks: one more leading axis everywhere."""

    support: Batch
    query: Batch


class Pool(NamedTuple):
    """The training split as one labelled data set, for conventional training.

    `sample(n, generator)` gives n points whose targets are indices of the `classes` training classes.
    """

    classes: int
    sample: Callable[[int, Generator], Batch]


class LossFn(Protocol):
    def __call__(self, predict: Predict, batch: Batch, /) -> Tensor:
        """The scalar loss of a predictor on one task's batch; `predict` may be called more than once."""


class Problem(NamedTuple):
    """What an algorithm is given for one trial: a suite's model as pure functions of its weights."""

    init: Callable[[], Params]
    """The trial's initial weights: at one seed the same for every algorithm. What is frozen is none of them."""
    apply: Callable[[Params, Tensor], Tensor]
    """Weights and inputs (s, ...) to outputs."""
    loss: Callable[[Params, Batch], Tensor]
    """Weights and a batch to the suite's scalar loss."""
    criterion: LossFn
    """The same loss of any predictor, for algorithms that predict in their own way (by distances, with a context)."""
    module: Callable[[], nn.Module]
    """A fresh module that holds the initial weights, for stateful libraries; what is frozen is a buffer of it."""
    head: tuple[str, ...]
    """The names of the last layer's parameters, by use in a forward pass or by `Suite.head`; the rest is the body."""
    layers: Mapping[str, tuple[str, ...]]
    """The layers in the order of their use, each with the names of its parameters."""
    ways: int | None
    """The classes of a task, where its targets are their indices; otherwise None."""
    wrap: Callable[[Callable[[nn.Module], nn.Module]], Problem]
    """The same problem around an extended model (a context input, a body without its head)."""
    pool: Pool | None
    """The training split as labelled data, where the suite has it."""
    generator: Callable[[str], Generator]
    """The algorithm's own random stream of that name; a function of the trial's seed."""
    step_points: int = 0  # see Suite.step_points
    later_lr: float = 1.0  # see Suite.later_lr
    acting: Acting | None = None
    """Where the suite is one of policies."""


class StartFn(Protocol):
    def __call__(self, meta: Meta, support: Batch, /) -> Fast:
        """The task's weights before the first inner step, from its support set."""


class StepFn(Protocol):
    def __call__(self, meta: Meta, fast: Fast, support: Batch, i: int, /) -> Fast:
        """The weights after inner step number i (from 0) on the support set; differentiable."""


class PredictFn(Protocol):
    def __call__(self, meta: Meta, fast: Fast, x: Tensor, /) -> Tensor:
        """Outputs (q, ...) for inputs x (q, ...) after some inner steps."""


class InnerLoop(NamedTuple):
    """Adaptation to one task, step by step: `sgd`, `partial_sgd` and `adam` make one.

    None of the functions may draw random numbers, write in place or call `.item()`.
    """

    start: StartFn
    step: StepFn
    predict: PredictFn


class ObjectiveFn(Protocol):
    def __call__(self, meta: Meta, task: Task, progress: float, /) -> Tensor:
        """The scalar that meta-training minimises on one task; progress runs from 0 to 1."""


class MetaGradFn(Protocol):
    def __call__(self, meta: Meta, task: Task, progress: float, /) -> tuple[Tensor, Meta]:
        """On one task, a loss to log and the direction to step against; progress runs from 0 to 1."""


@refuse_edition_1
class Algorithm(NamedTuple):
    """A meta-learner as pure functions of one task. The engine batches, times and scores it.

    A factory raises NotApplicableError for a problem that the algorithm is not made for (no classes, say): a run
    then says so and goes on. Without `objective` and `meta_grad` nothing is meta-trained. They are held to the same
    rules as the inner loop.
    """

    init: Callable[[], Meta]
    """What is learnt, before the first update."""
    inner: InnerLoop
    """Adaptation to one task."""
    objective: ObjectiveFn | None = None
    """What meta-training minimises, if there is such a thing; its exact gradient is taken."""
    meta_grad: MetaGradFn | None = None
    """The direction instead, where it is not the exact gradient of an objective."""
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] = torch.optim.Adam
    """The outer optimizer over the leaves of Meta."""
    schedule: Callable[[float], float] = constant
    """The factor on the optimizer's learning rate at a progress from 0 to 1."""


class Learner(Protocol):
    """Many tasks at once, with its own state: what the engine drives. For wrapping other libraries.

    A factory may return a Learner instead of an Algorithm.
    """

    trainable: bool
    """Whether `update` learns anything; otherwise the engine goes straight to the test."""

    def update(self, tasks: Task, progress: float) -> Tensor:
        """One meta-update on n tasks; returns the loss to log."""
        ...

    def adapt(self, support: Batch, steps: int) -> Iterator[Sequence[Predict]]:
        """For n support sets: one predictor per task, before the first inner step and after each: steps + 1 times.

        Consume each item before advancing the iterator. Adapting leaves the learner as it was.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on: tensors, numbers, strings, nested dicts and lists.

        May alias live tensors, as nn.Module.state_dict does; copy to keep.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        ...


AlgorithmFactory = Callable[..., Algorithm | Learner]
"""`(problem, *, parameter=default ...)`; each keyword parameter is explained in the docstring, under `Args:`."""


class SampleFn(Protocol):
    def __call__(self, split: str, n: int, generator: Generator, /) -> Task:
        """n tasks of a split (`train`, `validation`, `test`) along a new leading axis; pure given the generator."""


class MetricsFn(Protocol):
    def __call__(self, predict: Predict, batch: Batch, /) -> dict[str, Tensor]:
        """Scalars by name on one task's query set; the first is the one that tables show."""


class Suite(NamedTuple):
    """A family of tasks: where they come from, which model learns them, how it is judged."""

    sample: SampleFn
    model: Callable[[], nn.Module]
    """A freshly initialised model, from torch's global random state, which the engine sets."""
    loss: LossFn
    """What a learner minimises on one task's batch: cross-entropy, squared error, hinge, a policy's surrogate."""
    metrics: MetricsFn
    higher_is_better: bool
    """Of the first metric."""
    groups: Callable[[str], frozenset[str]] = no_groups
    """The classes that a split draws from; splits that share one are refused."""
    ways: int | None = None
    """The classes of a task, where targets are their indices from 0 and the model has an output for each."""
    head: str = ""
    """The name of the model's last layer, as `named_modules` has it; where it is empty, it is found by use."""
    test_ways: int | None = None
    """The classes of a validation or test task, where they are not `ways`: for algorithms of which nothing that is
    learnt belongs to a class, as of prototypical networks. Others do not fit."""
    test_model: Callable[[], nn.Module] | None = None
    """The model with an output for each of `test_ways`."""
    step_points: int = 0
    """Points of the support set that an inner step takes, in turn, as trajectories of its own; 0 takes all."""
    later_lr: float = 1.0
    """The share of an algorithm's step size that inner steps after the first have: `step_size` tells it."""
    clip_norm: float = 0.0
    """The norm that outer directions which are longer are cut to, as is usual for policies; 0 leaves them."""
    distinct_tasks: int = 0
    """How many tasks there are in all, where they are so few that training and test meet the same; otherwise 0."""
    estimated: bool = False
    """Whether the loss's derivatives are estimates, as those of a policy's surrogate: not those of its value."""
    collect: CollectFn | None = None
    """For environments that cannot be traced: called, without gradients, before each inner step and before a query
    set is used; loss and metrics are given what it returns. A function of its arguments alone."""
    acting: Acting | None = None
    """For suites of policies."""
    pool: Callable[[], Pool] | None = None
    """The training split as labelled data."""
    recipes: Mapping[str, Recipe] = {}
    """Published settings by name; `quick` is what a run uses when nothing else is said."""
    prepare: Callable[[], None] = nothing_to_prepare
    """Fetch and cache what `sample` needs, once, before the first trial starts."""
    notes: Callable[[], tuple[str, ...]] = no_notes
    """A line for each thing in the data that is left out, or read in a way that their owner should know."""
    digest: Callable[[], str] = no_digest
    """Of the data, in hexadecimal: it changes when they change."""


SuiteFactory = Callable[..., Suite]
"""`(*, parameter=default ...)`; each parameter is explained in the docstring, under `Args:`."""
