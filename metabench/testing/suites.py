"""The checks of a suite. Each states a property; `--explain` shows its docstring."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import NamedTuple

import torch

from metabench.api import Problem, Suite, Task
from metabench.autodiff import grad, value_and_grad
from metabench.errors import UserError
from metabench.problem import build_problem, cast
from metabench.registry import Registry
from metabench.streams import seed_everything, stream
from metabench.testing.cases import Elsewhere, require_equal
from metabench.testing.checks import Check, FailureError, NotApplicableError, where
from metabench.trees import flatten, map_tree
from metabench.trials import Budget

SPLITS = ("train", "validation", "test")


class SuiteCase(NamedTuple):
    """A suite, and the registry that its recipes refer to."""

    suite: Suite
    name: str
    registry: Registry
    elsewhere: Elsewhere | None = None

    def tasks(self, split: str, n: int, name: str = "tasks") -> Task:
        """n tasks, the same for the same name. Who draws from the global streams differs in `reproducible` only."""
        seed_everything(0)
        return self.suite.sample(split, n, stream("kit", name))

    def problem(self, dtype: torch.dtype = torch.float32) -> Problem:
        """The suite's model at seed 0, always the same."""
        seed_everything(0)
        return build_problem(self.suite, 0, dtype=dtype)


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
                raise FailureError(
                    f"{split} tasks that are {type(tasks).__name__}",
                    f"no Task(Batch, Batch){where(case.suite.sample)}",
                )


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
        first = case.suite.sample(split, 3, stream("kit", "tasks"))
        if not torch.equal(before, torch.get_rng_state()):
            raise FailureError(
                f"sampling {split} tasks moved torch's global random state", f"a draw without `generator=`{at}"
            )
        torch.manual_seed(2)
        again = case.suite.sample(split, 3, stream("kit", "tasks"))
        words = (f"{split} tasks of the same generator", f"a draw from somewhere else than the generator{at}")
        require_equal(again, first, 0.0, words)
        other = case.suite.sample(split, 3, stream("kit", "others"))
        if all(torch.equal(a, b) for a, b in zip(flatten(first)[0], flatten(other)[0], strict=True)):
            raise FailureError(f"two generators gave the same {split} tasks", f"the generator is not read{at}")


def other_process(case: SuiteCase) -> None:
    """Two other processes get the same tasks and weights, whatever PYTHONHASHSEED is.

    Each loads the plugin by name, draws tasks of every split and the model, and hands back a digest.
    Why: trials of one run are spread over processes and machines, and must meet the same tasks there.
    Typical causes: classes in the order of a `set` or of `os.listdir`, `hash(text)`, the time.
    Remedy: `sorted(...)`.
    """
    if case.elsewhere is None:
        raise NotApplicableError("it is not a registered plugin, which another process could load by its name")
    mine, other = case.elsewhere()
    if mine != other:
        raise FailureError(
            f"digests {mine['']} and {other['']}",
            f"the order of a set, or `hash`, decides something{where(case.suite.sample)}",
        )


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
        for support, query in zip(tasks.support.x.flatten(2) if tasks.support.x.dim() > 2 else tasks.support.x[..., None],
                                  tasks.query.x.flatten(2) if tasks.query.x.dim() > 2 else tasks.query.x[..., None]):  # fmt: skip
            if support.shape[1:] == query.shape[1:]:
                copies += int((query[:, None] == support[None]).all(-1).any(1).sum())
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


def model_stateless(case: SuiteCase) -> None:
    """The model's output depends on its input and its weights alone.

    Layers with running statistics or dropout are refused, as they are when a trial starts.
    Why: running statistics would leak from task to task, and dropout makes a task depend on those before it.
    Typical causes: `nn.BatchNorm2d(n)`, `nn.Dropout`.
    Remedy: `nn.BatchNorm2d(n, track_running_stats=False)`, no dropout.
    """
    try:
        case.problem()
    except UserError as error:
        raise FailureError(str(error).rstrip("."), f"a layer that keeps a state{where(case.suite.model)}") from None


def model_seeded(case: SuiteCase) -> None:
    """The initial weights are a function of the seed.

    Two models of one seed, with other global states of numpy and random between, and one of another seed.
    Why: at one seed every algorithm starts from the same weights.
    Typical causes: weights from numpy or `random`, from a generator with a fixed seed, or loaded from a file.
    Remedy: draw from torch's global random state, as `nn.init` does; the harness sets it.
    """
    same, again, other = (build_problem(case.suite, seed).init() for seed in (0, 0, 1))
    cause = f"weights that do not come from torch's global random state{where(case.suite.model)}"
    require_equal(again, same, 0.0, ("two sets of initial weights of one seed", cause))
    if all(torch.equal(same[name], other[name]) for name in same):
        raise FailureError("two seeds gave the same initial weights", cause)


def judges(case: SuiteCase) -> None:
    """Loss and metrics are finite scalars of the model's predictions on one task.

    The untrained model on the query set of a test task.
    Why: they are averaged over tasks; a vector or NaN has no place in a table.
    Typical causes: a missing `.mean()`, a metric that returns a float, `log(0)`.
    Remedy: return 0-dimensional tensors.
    """
    problem = case.problem()
    task = first_of(cast(case.tasks("test", 1), "cpu"))
    weights = problem.init()
    values = {"loss": problem.loss(weights, task.query)}
    values |= case.suite.metrics(lambda x: problem.apply(weights, x), task.query)
    at = where(case.suite.metrics, case.suite.loss)
    if len(values) < 2:
        raise FailureError("no metric", f"`metrics` returns an empty dict{at}")
    for name, value in values.items():
        if not isinstance(value, torch.Tensor) or value.shape != () or not bool(value.isfinite()):
            raise FailureError(
                f"{name} is {' '.join(str(value).split())[:80]}", f"a missing `.mean()`, or log(0){at}"
            )


def metric_direction(case: SuiteCase) -> None:
    """As the loss on a batch falls, the first metric on it does not get worse in the sense of `higher_is_better`.

    100 steps of Adam on the support set of one training task.
    Why: the best state on validation, and every "better" in a report, go by that sense.
    Typical causes: `higher_is_better=True` for an error, or False for an accuracy; an error that is not the first metric.
    Remedy: turn `higher_is_better`, or put the metric that is meant first.
    """
    problem = case.problem()
    batch = first_of(cast(case.tasks("train", 1), "cpu")).support
    weights = {name: weight.requires_grad_() for name, weight in problem.init().items()}
    optimizer = torch.optim.Adam(weights.values(), lr=1e-2)

    @torch.no_grad()
    def state() -> tuple[float, float, str]:
        metrics = case.suite.metrics(lambda x: problem.apply(weights, x), batch)
        return float(problem.loss(weights, batch)), float(next(iter(metrics.values()))), next(iter(metrics))

    loss, metric, name = state()
    for _ in range(100):
        _, slopes = value_and_grad(problem.loss)({n: w.detach() for n, w in weights.items()}, batch)
        for key, weight in weights.items():
            weight.grad = slopes[key].detach()
        optimizer.step()
    end_loss, end_metric, _ = state()
    if not end_loss < loss:
        raise NotApplicableError(f"100 steps of Adam did not lower the loss ({loss:.4g} to {end_loss:.4g})")
    worse = end_metric < metric if case.suite.higher_is_better else end_metric > metric
    if worse:
        raise FailureError(
            f"the loss went from {loss:.4g} to {end_loss:.4g}, and {name} from {metric:.4g} to {end_metric:.4g}",
            f"`higher_is_better={case.suite.higher_is_better}` is the wrong way round{where(case.suite.metrics)}",
        )


def batchable(case: SuiteCase) -> None:
    """The loss and its gradient under vmap over tasks are those of a loop, and every weight has one.

    Three training tasks, in float64.
    Why: the harness batches tasks by torch.vmap wherever that is quicker.
    Typical causes: `.item()`, `if tensor:` or an in-place write in the loss or the model; a loss that is constant.
    Remedy: tensor operations only; `torch.where` for `if`.
    """
    problem = case.problem(torch.float64)
    support = cast(case.tasks("train", 3), "cpu", torch.float64).support
    weights = problem.init()
    batched = torch.vmap(lambda batch: grad(problem.loss)(weights, batch))(support)
    at = where(case.suite.loss)
    for i in range(3):
        alone = grad(problem.loss)(weights, map_tree(lambda leaf, i=i: leaf[i], support))
        words = ("the gradient under vmap and in a loop", f"the loss asks whether it is batched{at}")
        require_equal(map_tree(lambda leaf, i=i: leaf[i], batched), alone, 1e-6, words)
    if not any(bool(leaf.any()) for leaf in flatten(batched)[0]):
        raise FailureError("the gradient of the loss is zero for every weight", f"a detach, or a constant loss{at}")


def recipes(case: SuiteCase) -> None:
    """Every recipe names parameters and fields that exist.

    Those of the suite, of the algorithms that are installed, and of the budget.
    Why: a recipe is run by people who did not write it.
    Typical causes: a parameter that was renamed, a misspelt field.
    Remedy: `metabench list` shows the names.
    """
    cause = f"a misspelt name in a Recipe of suite '{case.name}'"
    fields = set(Budget.__struct_fields__)
    for name, recipe in case.suite.recipes.items():
        try:
            case.registry.get("suite", case.name).resolve(dict(recipe.suite))
            for algorithm, settings in recipe.algorithms.items():
                if algorithm in case.registry.algorithms:
                    own = {key: value for key, value in settings.items() if key not in fields}
                    case.registry.get("algorithm", algorithm).resolve(own)
        except UserError as error:
            raise FailureError(f"recipe '{name}': {str(error).rstrip('.')}", cause) from None
        unknown = set(recipe.budget) - fields
        if unknown:
            raise FailureError(f"recipe '{name}' has no budget field '{min(unknown)}'", cause)


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


MODEL = ("samples", "shapes", "model-stateless")

CHECKS = (
    Check("samples", samples),
    Check("shapes", shapes, ("samples",)),
    Check("reproducible", reproducible, ("samples",)),
    Check("other-process", other_process, ("samples", "reproducible")),
    Check("query-apart", query_apart, ("samples", "shapes")),
    Check("disjoint-splits", disjoint_splits),
    Check("model-stateless", model_stateless),
    Check("model-seeded", model_seeded, ("model-stateless",)),
    Check("judges", judges, MODEL),
    Check("metric-direction", metric_direction, (*MODEL, "judges")),
    Check("batchable", batchable, MODEL),
    Check("recipes", recipes),
)
