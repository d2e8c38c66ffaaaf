"""A learner after its trial: it adapts to a reader's own task, and gives its weights away."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from metabench.api import Algorithm, Batch, Learner, Suite, Task
from metabench.api import Predict as PredictFn
from metabench.engine import problem
from metabench.engine.arrays import Array, Form, Labels, classes, form_of, inputs, points, whole_tasks
from metabench.engine.build import build_algorithm
from metabench.engine.kept_state import restore
from metabench.engine.learner import BatchedLearner, adapt_fully, as_learner
from metabench.engine.problem import DTYPES, build_problem, to_device_dtype
from metabench.engine.seeds import random_generator, seed_everything, streams_kept
from metabench.errors import UserError
from metabench.records.record import Record
from metabench.records.trials import STRATEGIES, Protocol
from metabench.registry.discovery import Registry


class TrainedLearner:
    """What a trial has learnt: see `metabench.load_learner`."""

    def __init__(self, record: Record, suite: Suite, registry: Registry, state: dict[str, Any], device: str) -> None:
        self.record, self.trial = record, record.trial
        self.suite = suite
        self.registry = registry
        self.device, self.dtype = device, DTYPES[self.trial.precision]
        self.form: Form = form_of(suite)
        self.learner = self.fresh()
        restore(self.learner, state)

    def __repr__(self) -> str:
        return f"<TrainedLearner {self.trial.id}: {self.trial.algorithm} on {self.trial.suite}>"

    def fresh(self) -> Learner:
        """The learner as it was before its first update. Global random streams stay where they are."""
        with streams_kept():
            seed_everything(self.trial.seed)
            made = build_algorithm(self.registry, self.suite, self.trial, self.device)
        ran = self.record.strategy
        strategy = "auto" if ran not in STRATEGIES else ran if ran == "threaded" else "vectorised"
        return as_learner(made, strategy, suite=self.suite)

    def adapt(
        self, support_x: Array, support_y: Array, steps: int | None = None, protocol: Protocol | None = None
    ) -> Predictor:
        """Adapt to one task's support set; the predictor. The learner stays as it is.

        Args:
            support_x: Inputs (s, ...), scaled as the suite's are: tensors, numpy arrays or lists.
            support_y: Labels of any kind (s,), at most as many different ones as the suite has ways; for regression
                targets (s, ...).
            steps: Inner steps; by default as many as the trial was tested with.
            protocol: `inductive` predicts each query point with the support set alone, `transductive` together with
                the other query points, which matters for BatchNorm. By default as the trial was tested.
        """
        steps = self.trial.budget.test_steps if steps is None else steps
        if type(steps) is not int or steps < 0:
            raise UserError(f"steps must be a whole number of at least 0, not {steps!r}.")
        protocol = self.trial.protocol if protocol is None else protocol
        if protocol not in get_args(Protocol):
            raise UserError(f"protocol must be transductive or inductive, not {protocol!r}.")
        if self.suite.collect:
            raise UserError(
                f"On '{self.trial.suite}' a learner adapts to what it meets when it acts, not to given data."
            )
        x = inputs(support_x, self.form, "support_x")
        labels = None
        if self.form.ways is not None:
            y, labels = classes(support_y, self.form.ways, len(x))
        else:
            y = points(support_y, self.form.y_shape, self.form.y_floating, "support_y")
        if len(y) != len(x):
            raise UserError(f"support_y has {len(y)} points, and support_x {len(x)}.")
        support = to_device_dtype(Batch(x, y), self.device, self.dtype)
        with torch.no_grad():
            predict = adapt_fully(self.learner, Batch(support.x[None], support.y[None]), steps)[0]
        if protocol == "inductive":
            predict = problem.inductive(predict, support.x)
        return Predictor(self, predict, labels)

    @property
    def mean_input(self) -> float:
        """Of the inputs of a few training tasks."""
        return float(self.suite.sample("train", 4, random_generator("form")).support.x.double().mean())

    def tasks(self, given: Any) -> Task:
        """Tasks of a reader's own (n, points, ...), checked, where the learner is; see `metabench.score`."""
        return to_device_dtype(whole_tasks(given, self.form), self.device, self.dtype)

    def module(self) -> nn.Module:
        """The suite's own module with the learnt initial weights, for use without metabench.

        Names are those of the suite's module. Weights that the algorithm does not learn, such as a head that it
        replaces, are the trial's initial ones; warns where the module alone does not predict as the learner does
        before its first inner step.
        """
        asked = build_problem(self.suite, self.trial.seed, self.device, self.dtype)
        support = to_device_dtype(
            self.suite.sample("train", 1, random_generator("form")).support, self.device, self.dtype
        )
        learnt = learnt_weights(
            asked.init(), weights_tree(self.fresh(), support), weights_tree(self.learner, support)
        )
        module = asked.module()
        if not learnt:
            raise UserError(f"'{self.trial.algorithm}' learns no weights of the suite's model.")
        module.load_state_dict(learnt, strict=False)
        with torch.no_grad():
            own, alone = adapt_fully(self.learner, support, 0)[0](support.x[0]), module(support.x[0])
        missing = sorted(asked.init().keys() - learnt.keys())
        if own.shape != alone.shape or not torch.allclose(own, alone, rtol=1e-3, atol=1e-4):
            kept = f" It does not learn {', '.join(missing)}: these are as the trial began." if missing else ""
            warnings.warn(
                f"'{self.trial.algorithm}' predicts otherwise than its module alone, even before its first inner "
                f"step.{kept}",
                stacklevel=2,
            )
        return module


class Predictor:
    """A learner that is adapted to one task."""

    def __init__(self, learner: TrainedLearner, predict: PredictFn, labels: Labels | None) -> None:
        self.learner = learner
        self.predict = predict
        self.labels = labels

    def __call__(self, query_x: Array) -> Any:
        """The predicted labels (q,), of the kind that the support set has; for regression the outputs."""
        if self.labels is None:
            return self.outputs(query_x)
        return self.labels.of(self.raw(query_x))

    def outputs(self, query_x: Array) -> Any:
        """The model's outputs (q, ...): logits, by class, or values. A tensor for a tensor, otherwise numpy."""
        found = self.raw(query_x)
        return found if isinstance(query_x, Tensor) else np.asarray(found.cpu())

    @property
    def classes(self) -> list[Any]:
        """The label of each column of the outputs that the support set has; empty for regression."""
        return sorted(self.labels.known, key=self.labels.known.__getitem__) if self.labels else []

    def raw(self, query_x: Array) -> Tensor:
        """See outputs; raises UserError where one is not finite."""
        x = to_device_dtype(inputs(query_x, self.learner.form, "query_x"), self.learner.device, self.learner.dtype)
        with torch.no_grad():
            found = self.predict(x)
        if not bool(torch.isfinite(found).all()):
            raise UserError("The outputs are not finite: adapting diverged on this support set. Take fewer steps.")
        return found


def weights_tree(learner: Learner, support: Batch) -> dict[str, Any]:
    """Where a learner may have the model's weights: at the start of a task, in what is meta-learnt, in its state."""
    if not isinstance(learner, BatchedLearner):
        return learner.state_dict()
    algorithm: Algorithm = learner.algorithm
    with torch.no_grad():
        start = algorithm.inner.start(learner.meta, Batch(support.x[0], support.y[0]))
    return {"start": start, "meta": learner.meta}


def learnt_weights(initial: Mapping[str, Tensor], before: Any, after: Any) -> dict[str, Tensor]:
    """By name of the model's parameter: what a learner has in its place after training.

    The place is where before training the parameter's initial value was: under its name, or where no other parameter
    is. So no algorithm, ours or of another library, needs to say how it keeps weights.
    """
    old, new = dict(leaves(before)), dict(leaves(after))
    found: dict[str, Tensor] = {}
    taken: set[str] = set()

    def take(name: str, places: list[str]) -> None:
        if places and places[0] in new and new[places[0]].shape == initial[name].shape:
            found[name] = new[places[0]].detach().clone()
            taken.add(places[0])

    alike = {
        name: [path for path, leaf in old.items() if leaf.shape == value.shape and torch.equal(leaf, value)]
        for name, value in initial.items()
    }
    for name, paths in alike.items():
        take(name, [path for path in paths if path == name or path.endswith(f".{name}")])
    for name, paths in alike.items():
        if name not in found:
            free = [path for path in paths if path not in taken]
            take(name, free if len({path.partition(".")[2] for path in free}) == 1 else [])
    return found


def leaves(tree: Any, path: str = "") -> Any:
    """The tensors of a state with their dotted paths."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from leaves(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{path}.{number}" if path else str(number))
