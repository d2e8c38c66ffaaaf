"""What a trained learner predicts of a task in files: a table of texts."""

from __future__ import annotations

import csv
import io
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from metabench.engine.trained import TrainedLearner
    from metabench.experiments.own_tasks import OwnTask
    from metabench.records.trials import Protocol

APART = 0.25
"""Between the mean of the suite's inputs and that of the reader's, of a range of 1, for the reader to be told."""


class Predictions(NamedTuple):
    """Row by row, and the values themselves."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    values: list[Any]
    notes: list[str]


def predicted(learner: TrainedLearner, task: OwnTask, steps: int | None, protocol: Protocol | None) -> Predictions:
    """Adapt to the support set and predict the query points. Raises UserError."""
    predict = learner.adapt(task.support_x, task.support_y, steps, protocol)
    outputs = np.asarray(predict.outputs(task.query_x), dtype=np.float64)
    if not predict.classes:
        values = outputs.reshape(len(outputs), -1)
        rows = [(name, *(f"{one:.6g}" for one in row)) for name, row in zip(task.names, values, strict=True)]
        many = range(values.shape[1])
        headings = ("point", *(["predicted"] if len(many) == 1 else (f"predicted {i}" for i in many)))
        return Predictions(headings, rows, values[:, 0].tolist(), [])
    labels = predict(task.query_x)
    columns = outputs[:, [predict.labels.known[label] for label in predict.classes]] if predict.labels else outputs
    weights = np.exp(columns - columns.max(1, keepdims=True))
    shares = weights.max(1) / weights.sum(1)
    rows = [(name, str(label), f"{share:.2f}") for name, label, share in zip(task.names, labels, shares, strict=True)]
    return Predictions(("point", "predicted", "softmax"), rows, labels, unlike(learner, task))


def unlike(learner: TrainedLearner, task: OwnTask) -> list[str]:
    """A line where the reader's images are much brighter or darker than those that the learner was trained on."""
    theirs, mine = learner.mean_input, float(task.support_x.mean())
    if abs(theirs - mine) < APART:
        return []
    words = ("brighter", "darker") if mine > theirs else ("darker", "brighter")
    return [
        f"Your images are {words[0]} (mean {mine:.2f}) than those it was trained on ({theirs:.2f}): try --invert."
    ]


def summary(task: OwnTask, found: Predictions) -> str:
    """How well it did, where the truth is known."""
    if not task.truth:
        return ""
    pairs = list(zip(found.values, task.truth, strict=True))
    if found.headings[-1] == "softmax":
        right = sum(one == other for one, other in pairs)
        return f"Right: {right} of {len(pairs)} ({right / len(pairs):.0%})."
    return f"Mean squared error: {statistics.fmean((one - other) ** 2 for one, other in pairs):.4g}."


def as_csv(found: Predictions) -> bytes:
    """The table as a file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([found.headings, *found.rows])
    return text.getvalue().encode()
