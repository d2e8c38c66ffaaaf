"""Digests of what a trial is computed from: the code of its plugins, the data, the first block of test tasks."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from metabench.api import Suite, Task
from metabench.api.trees import flatten
from metabench.engine.seeds import random_generator, streams_kept
from metabench.engine.tasks import BLOCK
from metabench.errors import UserError
from metabench.records.provenance import Digests
from metabench.records.trials import Execution, Trial
from metabench.registry.discovery import Registry
from metabench.registry.own_models import digest_of, own_models

A_FEW = 10
"""Training tasks, and validation tasks, that the digest of the data looks at."""
DIGITS = 12


def code_now(registry: Registry, trials: Iterable[Trial]) -> dict[str, str]:
    """Digests of the code of these trials' plugins and own models, as Execution.code has them.

    Not of code that cannot be found.
    """
    trials = list(trials)
    names = {(kind, getattr(trial, kind)) for trial in trials for kind in ("algorithm", "suite")}
    code = {f"{kind} {name}": found for kind, name in sorted(names) if (found := registry.digest(kind, name))}
    models = sorted({model for trial in trials for model in own_models(trial.suite_parameters)})
    return code | {f"model {model}": found for model in models if (found := digest_of(model))}


def code_digests(code: Mapping[str, str], trial: Trial) -> Digests:
    """Those of the trial's plugins among them; a model of the user's own counts as a part of the suite."""
    suite = code.get(f"suite {trial.suite}")
    models = [code.get(f"model {model}") for model in own_models(trial.suite_parameters)]
    if suite and models:
        known = [suite, *(model for model in models if model)]
        suite = shortened("\n".join(known)) if len(known) > len(models) else None
    return Digests(code.get(f"algorithm {trial.algorithm}"), suite)


def refuse_changed(code: Mapping[str, str], execution: Execution) -> None:
    """Raise UserError for code that was changed after the run began."""
    for plugin, digest in code.items():
        if execution.code.get(plugin, digest) != digest:
            raise UserError(
                f"the code of {plugin} was changed after this run had begun; with --retry-failed the same command "
                "runs the trial by the new code"
            )


def data_digests(trial: Trial, suite: Suite) -> Digests:
    """Those of the data that a prepared suite has now; unknown where it cannot give them.

    Random streams stay where they are.
    """
    try:
        with streams_kept():
            few = [sketch(suite.sample(split, A_FEW, stream(trial, split))) for split in ("train", "validation")]
            data = shortened("\n".join([suite.digest(), *files(trial.suite_parameters), *few]))
            tests = sketch(suite.sample("test", BLOCK, stream(trial, "test"))) if trial.budget.test_tasks else None
    except Exception:  # what is wrong with the suite is said where the trial needs it
        return Digests()
    return Digests(data=data, tests=tests and shortened(tests))


def stream(trial: Trial, split: str) -> torch.Generator:
    """Of the first block of a split, which every trial of the suite meets; of training it is no trial's."""
    return random_generator(trial.stream(split), split, 0)


def shortened(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def files(parameters: Mapping[str, Any]) -> Iterator[str]:
    """The checksum of each file that a parameter names, here or below METABENCH_DATA: a path is not the data."""
    for name in sorted(parameters):
        value = parameters[name]
        for place in ("", os.environ.get("METABENCH_DATA", "")) if isinstance(value, str) and value else ():
            path = os.path.join(place, value)
            if os.path.isfile(path):  # unlike Path.is_file, never an error
                yield f"{name} {checksum_of(path, os.stat(path).st_mtime_ns)}"
                break


@lru_cache(maxsize=100)
def checksum_of(path: str, changed: int) -> str:
    """Of a file that was changed then."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sketch(tasks: Task) -> str:
    """A text that is another for other tasks, and as good as surely the same where only rounding differs.

    Whole numbers count bit by bit. Of other numbers a leaf is told by its size, its mean, and what it has in common
    with a wave, in thousandths: what another processor rounds otherwise changes these by less than a millionth.
    """
    return " ".join(of_leaf(leaf) for leaf in flatten(tasks)[0])


def of_leaf(leaf: Tensor) -> str:
    """See sketch."""
    leaf = leaf.detach().cpu()
    name = f"{leaf.dtype} {tuple(leaf.shape)}"
    if leaf.is_complex():
        leaf = torch.view_as_real(leaf)
    if not leaf.is_floating_point():
        return f"{name} {hashlib.sha256(leaf.contiguous().numpy().tobytes()).hexdigest()}"
    rows = leaf.flatten(1) if leaf.dim() > 1 else leaf[:, None]
    angles = torch.arange(rows.shape[1], dtype=torch.float64)
    cosine, sine = angles.cos(), angles.sin()
    wave = square = total = 0.0
    for number, row in enumerate(rows):  # one task at a time in float64
        row = row.double()
        shift = math.sqrt(2) * number
        wave += float(math.cos(shift) * (row @ cosine) - math.sin(shift) * (row @ sine))
        square += float(row @ row)
        total += float(row.sum())
    size = math.sqrt(square / max(1, rows.numel()))
    parts = (total / rows.numel(), wave / math.sqrt(rows.numel())) if size else ()
    return " ".join([name, f"{size:.3g}", *(f"{round(part / size, 3) + 0.0:.3f}" for part in parts)])
