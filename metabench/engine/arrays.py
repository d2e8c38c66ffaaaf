"""One task in a reader's own arrays, as tensors like those of a suite's tasks; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metabench.api import Batch, Suite, Task
from metabench.api.apart import as_tested
from metabench.engine.seeds import random_generator
from metabench.errors import UserError

Array = Tensor | np.ndarray[Any, Any] | Sequence[Any]
"""What a reader has: tensors, numpy arrays, lists of numbers (labels: of anything)."""


class Form(NamedTuple):
    """What one point of a suite's tasks looks like."""

    x_shape: tuple[int, ...]
    x_floating: bool
    y_shape: tuple[int, ...]
    y_floating: bool
    ways: int | None


def form_of(suite: Suite) -> Form:
    """The form of the points of a suite, seen in a task of those that it is tested on."""
    suite = as_tested(suite)
    support = suite.sample("train", 1, random_generator("form")).support
    x, y = support.x[0], support.y[0]
    return Form(tuple(x.shape[1:]), x.is_floating_point(), tuple(y.shape[1:]), y.is_floating_point(), suite.ways)


def inputs(given: Array, form: Form, name: str) -> Tensor:
    """Points (s, ...) as a tensor; raises UserError that calls them `name`."""
    return points(given, form.x_shape, form.x_floating, name)


def points(given: Array, shape: tuple[int, ...], floating: bool, name: str) -> Tensor:
    """An array of points, checked. One axis suffices where a point is one number."""
    wanted = f"({', '.join(['points', *map(str, shape)])}{',' if not shape else ''})"
    try:
        found = given.detach() if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{name} must be an array of numbers {wanted}.") from None
    if shape == (1,) and found.dim() == 1:
        found = found[:, None]
    if tuple(found.shape[1:]) != shape or not found.dim():
        raise UserError(f"{name} must have the shape {wanted}, as the suite's tasks do, not {tuple(found.shape)}.")
    if not len(found):
        raise UserError(f"{name} holds no point.")
    if floating and (found.dtype in (torch.uint8, torch.bool) or found.is_complex()):
        kind = str(found.dtype).removeprefix("torch.")
        raise UserError(f"{name} must be real numbers, scaled as the suite's are, not {kind}.")
    if not floating and (found.is_floating_point() or found.is_complex()):
        raise UserError(f"{name} must be whole numbers, not {str(found.dtype).removeprefix('torch.')}.")
    found = found.double() if floating else found.long()
    if not bool(torch.isfinite(found).all()):
        raise UserError(f"{name} holds numbers that are not finite.")
    return found


def whole_tasks(given: Any, form: Form) -> Task:
    """Tasks (n, points, ...) of a reader's own, checked. Targets of classes are their numbers, from 0."""
    try:
        batches = [Batch(*batch) for batch in Task(*given)]
        counts = {len(leaf) for batch in batches for leaf in batch}
    except TypeError:
        raise UserError("tasks must be a suite's name, a Suite or a Task of arrays.") from None
    if len(counts) != 1 or counts == {0}:
        raise UserError(f"tasks must have one number of tasks on the first axis, not {sorted(counts)}.")
    found = []
    for name, batch in zip(Task._fields, batches, strict=True):
        x = [points(one, form.x_shape, form.x_floating, f"{name}.x of a task") for one in batch.x]
        y = [points(one, form.y_shape, form.y_floating, f"{name}.y of a task") for one in batch.y]
        if {len(one) for one in x} != {len(one) for one in y} or len({len(one) for one in x}) != 1:
            raise UserError(f"{name} must have as many targets as inputs, the same number in each task.")
        found.append(Batch(torch.stack(x), torch.stack(y)))
        if form.ways is not None and not bool(((found[-1].y >= 0) & (found[-1].y < form.ways)).all()):
            raise UserError(
                f"{name}.y must be classes from 0 to {form.ways - 1}: the learner tells {form.ways} apart."
            )
    return Task(*found)


class Labels(NamedTuple):
    """The labels of a task as its reader has them, and the class that stands for each."""

    known: dict[Any, int]
    """Class by label."""
    like: Array
    """What the reader gave, for predictions of the same kind."""

    def of(self, outputs: Tensor) -> Any:
        """The predicted labels (q,) of outputs (q, ways), among those of the support set."""
        columns = list(self.known.values())
        names = list(self.known)
        found = [names[row] for row in outputs[:, columns].argmax(1).tolist()]
        if isinstance(self.like, Tensor):
            return torch.tensor(found, dtype=self.like.dtype, device=self.like.device)
        return np.array(found, dtype=self.like.dtype) if isinstance(self.like, np.ndarray) else found


def classes(given: Array, ways: int, count: int) -> tuple[Tensor, Labels]:
    """Labels of any kind (s,) as classes from 0; whole numbers below `ways` stand for themselves."""
    named: Any = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
    if not isinstance(named, list | tuple) or any(isinstance(each, list) for each in named):
        raise UserError("support_y must be one label a point.")
    if len(named) != count:
        raise UserError(f"support_y has {len(named)} labels, and support_x {count} points.")
    try:
        distinct = list(dict.fromkeys(named))
    except TypeError:
        raise UserError("support_y must be one label a point: texts or numbers.") from None
    if len(distinct) > ways:
        raise UserError(f"support_y has {len(distinct)} classes, and the learner tells {ways} apart.")
    themselves = all(type(each) is int and 0 <= each < ways for each in distinct)
    known = {label: label if themselves else number for number, label in enumerate(distinct)}
    return torch.tensor([known[label] for label in named]), Labels(known, given)
