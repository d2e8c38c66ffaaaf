"""The checks of a suite. Each states a property, and fails with the value that was seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch

from metabench.api import Suite, Task
from metabench.autodiff import grad
from metabench.errors import UserError
from metabench.problem import build_problem, cast
from metabench.registry import Registry
from metabench.streams import stream
from metabench.testing.algorithms import equal
from metabench.trees import flatten, map_tree
from metabench.trials import Budget

SPLITS = ("train", "validation", "test")


class SuiteCase(NamedTuple):
    """A suite, and the registry that its recipes refer to."""

    suite: Suite
    name: str
    registry: Registry

    def tasks(self, split: str, n: int, name: str = "tasks") -> Task:
        """n tasks, the same for the same name."""
        return self.suite.sample(split, n, stream("kit", name))


def reproducible(case: SuiteCase) -> None:
    """Tasks depend on the generator alone: not on torch's global state, and not moving it."""
    for split in SPLITS:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one = case.tasks(split, 3)
        if not torch.equal(before, torch.get_rng_state()):
            raise AssertionError("sampling moved torch's global random state; pass the generator on")
        torch.manual_seed(2)
        equal(one, case.tasks(split, 3), f"{split} tasks", "tasks from the same generator", 0.0)
        other = case.tasks(split, 3, "others")
        if all(torch.equal(a, b) for a, b in zip(flatten(one)[0], flatten(other)[0], strict=True)):
            raise AssertionError(f"two generators gave the same {split} tasks; is the generator read?")


def shapes(case: SuiteCase) -> None:
    """n tasks have a leading axis of n; inputs are float32 and finite; x and y are of one length."""
    for split in SPLITS:
        for n in (1, 3):
            for part, batch in zip(("support", "query"), case.tasks(split, n)):
                if not (len(batch.x) == len(batch.y) == n):
                    raise AssertionError(
                        f"{n} {split} tasks came with {len(batch.x)} and {len(batch.y)} of {part} x and y"
                    )
                if batch.x.shape[1] != batch.y.shape[1] or batch.x.shape[1] == 0:
                    raise AssertionError(f"{part} x has {batch.x.shape[1]} points and y has {batch.y.shape[1]}")
                if batch.x.dtype != torch.float32 or not bool(batch.x.isfinite().all()):
                    raise AssertionError(f"{part} x must be finite float32, not {batch.x.dtype}")


def disjoint_splits(case: SuiteCase) -> None:
    """No class is drawn from by two splits."""
    for one, other in combinations(SPLITS, 2):
        shared = sorted(case.suite.groups(one) & case.suite.groups(other))
        if shared:
            raise AssertionError(f"{one} and {other} share {len(shared)} classes, such as '{shared[0]}'")


def judges(case: SuiteCase) -> None:
    """Loss and metrics are finite scalars of the model's predictions on one task."""
    problem = build_problem(case.suite, 0)
    task = map_tree(lambda leaf: leaf[0], cast(case.tasks("test", 1), "cpu"))
    weights = problem.init()
    values = {"loss": problem.loss(weights, task.query)}
    values |= case.suite.metrics(lambda x: problem.apply(weights, x), task.query)
    if len(values) < 2:
        raise AssertionError("there is no metric")
    for name, value in values.items():
        if value.shape != () or not bool(value.isfinite()):
            raise AssertionError(f"{name} must be a finite scalar tensor, not {value!r}")


def ways(case: SuiteCase) -> None:
    """Where a suite says how many classes a task has, targets are their indices, with an output of the model each."""
    count = case.suite.ways
    if count is None:
        return
    problem = build_problem(case.suite, 0)
    for part, batch in zip(("support", "query"), map_tree(lambda leaf: leaf[0], case.tasks("test", 1))):
        if batch.y.dtype != torch.int64 or batch.y.dim() != 1 or not set(batch.y.tolist()) <= set(range(count)):
            raise AssertionError(f"ways is {count}, and the {part} targets of a task are {batch.y}")
        outputs = problem.apply(problem.init(), batch.x)
        if outputs.shape != (len(batch.y), count):
            raise AssertionError(f"ways is {count}, and the model's outputs are {tuple(outputs.shape)}")


def batchable(case: SuiteCase) -> None:
    """The loss and its gradient under vmap over tasks are those of a loop, and every weight has one."""
    problem = build_problem(case.suite, 0, dtype=torch.float64)
    support = cast(case.tasks("train", 3), "cpu", torch.float64).support
    weights = problem.init()
    batched = torch.vmap(lambda batch: grad(problem.loss)(weights, batch))(support)
    for i in range(3):
        alone = grad(problem.loss)(weights, map_tree(lambda leaf, i=i: leaf[i], support))
        equal(map_tree(lambda leaf, i=i: leaf[i], batched), alone, "the gradient under vmap", "in a loop", 1e-6)
    if not any(bool(leaf.any()) for leaf in flatten(batched)[0]):
        raise AssertionError("the gradient of the loss is zero for every weight")


def model_seeded(case: SuiteCase) -> None:
    """The initial weights are a function of the seed."""
    same, again, other = (build_problem(case.suite, seed).init() for seed in (0, 0, 1))
    equal(same, again, "the initial weights", "those of the same seed", 0.0)
    if all(torch.equal(same[name], other[name]) for name in same):
        raise AssertionError("two seeds gave the same initial weights")


def recipes(case: SuiteCase) -> None:
    """Every recipe names parameters and fields that exist."""
    fields = set(Budget.__struct_fields__)
    for name, recipe in case.suite.recipes.items():
        try:
            case.registry.get("suite", case.name).resolve(dict(recipe.suite))
            for algorithm, settings in recipe.algorithms.items():
                if algorithm in case.registry.algorithms:
                    own = {key: value for key, value in settings.items() if key not in fields}
                    case.registry.get("algorithm", algorithm).resolve(own)
        except UserError as error:
            raise AssertionError(f"recipe '{name}': {error}") from None
        unknown = set(recipe.budget) - fields
        if unknown:
            raise AssertionError(f"recipe '{name}' has no budget field '{min(unknown)}'")


CHECKS: dict[str, Callable[[SuiteCase], None]] = {
    "reproducible": reproducible,
    "shapes": shapes,
    "disjoint-splits": disjoint_splits,
    "judges": judges,
    "ways": ways,
    "batchable": batchable,
    "model-seeded": model_seeded,
    "recipes": recipes,
}
