"""The checks of a suite. Each states a property; `--explain` shows its docstring."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import combinations
from typing import NamedTuple

import torch

from metabench.api import Batch, Params, Problem, Suite, SuiteFactory, Task
from metabench.api.apart import as_tested
from metabench.api.collecting import collected
from metabench.api.trees import flatten, map_tree
from metabench.engine.problem import build_problem
from metabench.engine.seeds import random_generator, seed_everything
from metabench.registry.discovery import Registry
from metabench.testing.cases import Elsewhere, require_equal, require_same_elsewhere
from metabench.testing.checks import Check, FailureError, where

SPLITS = ("train", "validation", "test")


class SuiteCase(NamedTuple):
    """A suite, and the registry that its recipes refer to."""

    suite: Suite
    name: str
    registry: Registry
    elsewhere: Elsewhere | None = None

    @property
    def factory(self) -> SuiteFactory | None:
        """What makes the suite, where a plugin registers it."""
        entry = self.registry.suites.get(self.name)
        return entry.factory if entry else None

    @property
    def source(self) -> str:
        """The suite whose recipes it has: of two, the one that is trained on."""
        return self.name.partition(":")[0]

    def tasks(self, split: str, n: int, name: str = "tasks") -> Task:
        """n tasks, the same for the same name. Global random use is caught by `reproducible` alone."""
        seed_everything(0)
        return self.suite.sample(split, n, random_generator("kit", name))

    def problem(self, dtype: torch.dtype = torch.float32) -> Problem:
        """The suite's model at seed 0, always the same."""
        seed_everything(0)
        return build_problem(self.suite, 0, dtype=dtype)

    @property
    def tested(self) -> SuiteCase:
        """The suite as its test tasks have it: their number of classes may be another."""
        return self._replace(suite=as_tested(self.suite))

    def met(self, problem: Problem, batch: Batch, weights: Params | None = None) -> Batch:
        """What the model, untrained without `weights`, meets of one task's batch: see Suite.collect."""
        return collected(self.suite, partial(problem.apply, weights or problem.init()), batch)


def samples(case: SuiteCase) -> None:
    """Every split gives tasks: a Task of two Batches of tensors.

    One task and three are drawn from train, validation and test. Every other check needs this one.
    Typical causes: an exception in `sample` (the message names the line), a split that is not known, a plain tuple.
    Remedy: `return Task(Batch(x, y), Batch(x, y))` for the three splits.
    """
    for split in SPLITS:
        for n in (1, 3):
            tasks = case.tasks(split, n)
            whole = isinstance(tasks, Task) and all(isinstance(leaf, torch.Tensor) for leaf in flatten(tasks)[0])
            if not whole or len(flatten(tasks)[0]) != 4:
                cause = f"`sample` returns no Task(Batch, Batch){where(case.suite.sample)}"
                raise FailureError(f"{split} tasks that are a {type(tasks).__name__}", cause)


def shapes(case: SuiteCase) -> None:
    """n tasks have a leading axis of n; inputs are float32 and finite; x and y are of one length.

    One task and three of every split.
    Why: tasks are batched, split and put on devices by their first axes.
    Typical causes: `double` from numpy (`torch.from_numpy`), a missing task axis, points cut differently in x and y.
    Remedy: `.float()`, `torch.stack` over tasks, one slice for x and y.
    """
    at = where(case.suite.sample)
    for split in SPLITS:
        for n in (1, 3):
            for part, batch in zip(("support", "query"), case.tasks(split, n)):
                if not (len(batch.x) == len(batch.y) == n):
                    raise FailureError(
                        f"{n} {split} tasks came with {len(batch.x)} and {len(batch.y)} of {part} x and y",
                        f"the first axis is not that of tasks{at}",
                    )
                points = tuple(leaf.shape[1] if leaf.dim() > 1 else 0 for leaf in batch)
                if points[0] != points[1] or not points[0]:
                    raise FailureError(
                        f"{part} x has {points[0]} points and y has {points[1]}", f"x and y are cut differently{at}"
                    )
                if batch.x.dtype != torch.float32 or not bool(batch.x.isfinite().all()):
                    raise FailureError(
                        f"{part} x in {batch.x.dtype}, {'' if batch.x.isfinite().all() else 'not '}finite",
                        f"numpy's float64, or a division by zero{at}",
                    )


def reproducible(case: SuiteCase) -> None:
    """Tasks depend on the generator alone: not on torch's global state, and not moving it.

    Tasks of each split from one generator under two global seeds, and from another generator.
    Why: every trial must meet the same test tasks, whatever was drawn before.
    Typical causes: `torch.rand(n)` without `generator=generator`, `random.sample`, tasks that are drawn once.
    Remedy: pass the generator on to every draw.
    """
    at = where(case.suite.sample)
    for split in SPLITS:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = case.suite.sample(split, 3, random_generator("kit", "tasks"))
        if not torch.equal(before, torch.get_rng_state()):
            raise FailureError(
                f"sampling {split} tasks moved torch's global random state", f"a draw without `generator=`{at}"
            )
        torch.manual_seed(2)
        again = case.suite.sample(split, 3, random_generator("kit", "tasks"))
        words = (f"{split} tasks of the same generator", f"a draw from somewhere else than the generator{at}")
        require_equal(again, first, 0.0, words)
        other = case.suite.sample(split, 3, random_generator("kit", "others"))
        if all(torch.equal(a, b) for a, b in zip(flatten(first)[0], flatten(other)[0], strict=True)):
            raise FailureError(f"two generators gave the same {split} tasks", f"the generator is not read{at}")


def other_process(case: SuiteCase) -> None:
    """Two other processes get the same tasks and weights, whatever PYTHONHASHSEED is.

    Each loads the plugin by name, draws tasks of every split and the model, and hands back a digest.
    Why: trials of one run are spread over processes and machines, and must meet the same tasks there.
    Typical causes: classes in the order of a `set` or of `os.listdir`, `hash(text)`, the time.
    Remedy: `sorted(...)`.
    """
    require_same_elsewhere(case.elsewhere, "", where(case.suite.sample))


def query_apart(case: SuiteCase) -> None:
    """The query set is not made of the support set's points.

    Three tasks of each split; at most half of the query points may be a support point, bit for bit.
    Why: a learner that remembers its support set would score as if it generalised.
    Typical causes: two slices that overlap (`x[:, :k]` twice), examples drawn twice for support and for query.
    Remedy: draw once and cut in two: `x[:, :k]` and `x[:, k:]`.
    """
    for split in SPLITS:
        tasks = case.tasks(split, 3)
        copies = points = 0
        for support, query in zip(tasks.support.x, tasks.query.x):
            seen = {row.numpy().tobytes() for row in support}
            copies += sum(row.numpy().tobytes() in seen for row in query)
            points += len(query)
        if 2 * copies > points:
            raise FailureError(
                f"{copies} of {points} query points of {split} tasks are support points",
                f"the two are cut from the same rows{where(case.suite.sample)}",
            )


def disjoint_splits(case: SuiteCase) -> None:
    """No class is drawn from by two splits.

    The classes that `groups` declares for train, validation and test are compared.
    Why: the test is of classes that were never seen.
    Typical causes: the same files for two splits, a slice that overlaps by one.
    Remedy: cut the sorted list of classes once.
    """
    for first, other in combinations(SPLITS, 2):
        shared = sorted(case.suite.groups(first) & case.suite.groups(other))
        if shared:
            raise FailureError(
                f"{first} and {other} share {len(shared)} classes, such as '{shared[0]}'",
                f"the splits overlap{where(case.suite.groups)}",
            )


def first_of(tasks: Task) -> Task:
    """The first of many tasks."""
    return map_tree(lambda leaf: leaf[0], tasks)


def digest(case: SuiteCase) -> str:
    """Of the bits of tasks and initial weights, in 12 digits."""
    case.suite.prepare()
    trees = [*(case.tasks(split, 3) for split in SPLITS), case.problem().init()]
    whole = hashlib.sha256()
    for leaf in flatten(trees)[0]:
        whole.update(leaf.contiguous().numpy().tobytes())
    return whole.hexdigest()[:12]


CHECKS = (
    Check("samples", samples),
    Check("shapes", shapes, ("samples",)),
    Check("reproducible", reproducible, ("samples",)),
    Check("other-process", other_process, ("samples", "reproducible", "model-stateless")),
    Check("query-apart", query_apart, ("samples", "shapes")),
    Check("disjoint-splits", disjoint_splits),
)
