"""The checks of a suite's model, loss, metrics and recipes. `--explain` shows their docstrings."""

from __future__ import annotations

import torch

from metabench.api import Batch, Task
from metabench.api.autodiff import grad, value_and_grad
from metabench.api.trees import flatten, map_tree, unflatten
from metabench.engine.problem import build_problem, to_device_dtype
from metabench.engine.second_order import LACKING, lacking_layer
from metabench.engine.seeds import random_generator
from metabench.errors import NotApplicableError, UserError, one_line
from metabench.records.trials import Budget
from metabench.testing.cases import require_equal
from metabench.testing.checks import Check, FailureError, where
from metabench.testing.suite_task_checks import SuiteCase, first_of


def model_stateless(case: SuiteCase) -> None:
    """The model's output depends on its input and its weights alone, and using it changes nothing.

    The model is tried on a training task twice, and on another between, as when a trial starts.
    Why: running statistics would leak from task to task, dropout makes a task depend on those before it, and what
    writes into its input changes the task.
    Typical causes: `nn.BatchNorm2d(n)`, `nn.Dropout`, `F.dropout`, `x.mul_()`, a counter on `self`.
    Remedy: `nn.BatchNorm2d(n, track_running_stats=False)`, no dropout, `x * 0.5` for `x.mul_(0.5)`.
    """
    try:
        case.problem()
    except UserError as error:
        raise FailureError(str(error).rstrip("."), f"see `model`{where(case.suite.model)}") from None


def model_seeded(case: SuiteCase) -> None:
    """The initial weights are a function of the seed.

    Two models of one seed, one after the other, and one of another seed.
    Why: at one seed every algorithm starts from the same weights.
    Typical causes: weights from numpy or `random`, from a generator with a fixed seed, or loaded from a file.
    Remedy: draw from torch's global random state, as `nn.init` does; the harness sets it.
    """
    same, again, other = (build_problem(case.suite, seed).init() for seed in (0, 0, 1))
    cause = f"weights that do not come from torch's global random state{where(case.suite.model)}"
    require_equal(again, same, 0.0, ("two sets of initial weights of one seed", cause))
    if all(torch.equal(same[name], other[name]) for name in same):
        raise FailureError("two seeds gave the same initial weights", cause)


def ways(case: SuiteCase) -> None:
    """Where a suite says how many classes a task has, targets are their indices, with an output of the model each.

    Targets and outputs of a test task against `ways`.
    Why: heads that are computed from the support set are made for that many classes.
    Typical causes: labels of the data set rather than of the task, `ways` that does not follow a parameter.
    Remedy: number the classes of a task from 0, and build the model for as many.
    """
    case = case.tested
    if (count := case.suite.ways) is None:
        return
    problem, at = case.problem(), where(case.suite.sample)
    task = first_of(to_device_dtype(case.tasks("test", 1), "cpu"))
    for part, batch in zip(("support", "query"), task):
        found = sorted(set(batch.y.flatten().tolist()))
        if batch.y.dtype != torch.int64 or batch.y.dim() != 1 or not set(found) <= set(range(count)):
            raise FailureError(
                f"ways is {count}, and the {part} targets of a task are {batch.y.dtype}, {found[0]} to {found[-1]}",
                f"labels that are not the task's own{at}",
            )
        outputs = problem.apply(problem.init(), batch.x)
        if outputs.shape != (len(batch.y), count):
            raise FailureError(
                f"ways is {count}, and the model's outputs are {tuple(outputs.shape)}",
                f"a model for another number of classes{where(case.suite.model)}",
            )


def judges(case: SuiteCase) -> None:
    """Loss and metrics are finite scalars of the model's predictions on one task.

    The untrained model on the query set of a test task.
    Why: they are averaged over tasks; a vector or NaN has no place in a table.
    Typical causes: a missing `.mean()`, a metric that returns a float, `log(0)`.
    Remedy: return 0-dimensional tensors.
    """
    case = case.tested
    problem = case.problem()
    weights = problem.init()
    query = case.met(problem, first_of(to_device_dtype(case.tasks("test", 1), "cpu")).query)
    values = {"loss": problem.loss(weights, query)}
    values |= case.suite.metrics(lambda x: problem.apply(weights, x), query)
    at = where(case.suite.metrics, case.suite.loss)
    if len(values) < 2:
        raise FailureError("no metric", f"`metrics` returns an empty dict{at}")
    for name, value in values.items():
        if not isinstance(value, torch.Tensor) or value.shape != () or not bool(value.isfinite()):
            seen = f"{name} is {' '.join(str(value).split())[:80]}"
            raise FailureError(seen, f"a missing `.mean()`, or log(0){at}")


def metric_direction(case: SuiteCase) -> None:
    """As the loss on a batch falls, the first metric on it does not get worse in the sense of `higher_is_better`.

    100 steps of Adam on the support set of one training task.
    Why: the best state on validation, and every "better" in a report, go by that sense.
    Typical causes: `higher_is_better=True` for an error, or False for an accuracy; the metrics' order.
    Remedy: turn `higher_is_better`, or put the metric that is meant first.
    """
    problem = case.problem()
    batch = first_of(to_device_dtype(case.tasks("train", 1), "cpu")).support
    weights = {name: weight.requires_grad_() for name, weight in problem.init().items()}
    optimizer = torch.optim.Adam(weights.values(), lr=1e-2)

    @torch.no_grad()
    def state() -> tuple[float, float, str]:
        seen = case.met(problem, batch, weights)
        metrics = case.suite.metrics(lambda x: problem.apply(weights, x), seen)
        return float(problem.loss(weights, seen)), float(next(iter(metrics.values()))), next(iter(metrics))

    loss, metric, name = state()
    for _ in range(100):
        seen = case.met(problem, batch, weights)
        _, grads = value_and_grad(problem.loss)({n: w.detach() for n, w in weights.items()}, seen)
        for key, weight in weights.items():
            weight.grad = grads[key].detach()
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
    support = to_device_dtype(case.tasks("train", 3), "cpu", torch.float64).support
    each = [case.met(problem, Batch(x, y)) for x, y in zip(*support)]
    support = Batch(*map(torch.stack, zip(*each)))
    weights = problem.init()
    batched = torch.vmap(lambda batch: grad(problem.loss)(weights, batch))(support)
    at = where(case.suite.loss)
    for i in range(3):
        alone = grad(problem.loss)(weights, map_tree(lambda leaf, i=i: leaf[i], support))
        words = ("the gradient under vmap and in a loop", f"the loss asks whether it is batched{at}")
        require_equal(map_tree(lambda leaf, i=i: leaf[i], batched), alone, 1e-6, words)
    if not any(bool(leaf.any()) for leaf in flatten(batched)[0]):
        raise FailureError("the gradient of the loss is zero for every weight", f"a detach, or a constant loss{at}")


def twice_differentiable(case: SuiteCase) -> None:
    """The loss has a second derivative: differences of its gradient agree with it.

    One training task, up to three directions, in float64; an `estimated` one must be there and finite.
    Why: algorithms of second order differentiate an inner step, and so the gradient.
    Typical causes: a function that torch cannot differentiate twice (`torch.cdist`, `ctc_loss`), an autograd.Function
    of your own that is marked `once_differentiable` or detaches what its backward pass uses.
    Remedy: write it with operations that torch differentiates; or expect this to fail, and run algorithms of first
    order: a run that meets it says which they are.
    """
    problem, support = case.problem(torch.float64), first_of(case.tasks("train", 1)).support
    support = case.met(problem, to_device_dtype(support, "cpu", torch.float64))
    weights, spec = flatten(problem.init())
    leaves = [weight.detach().requires_grad_() for weight in weights]
    at = where(case.suite.model, case.suite.loss)
    cause = f"an operation without a second derivative; algorithms of first order may run{at}"

    def who() -> str:
        return lacking_layer(case.suite, problem, Task(*(Batch(support.x[None], support.y[None]),) * 2))

    def slopes(at_weights: list[torch.Tensor]) -> list[torch.Tensor]:
        return flatten(grad(problem.loss)(unflatten(at_weights, spec), support))[0]

    def gap(direction: list[torch.Tensor]) -> float:
        along = sum((one * other).sum() for one, other in zip(slopes(leaves), direction, strict=True))
        second = torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)  # type: ignore[arg-type]
        if case.suite.estimated:
            return 0.0 if 0 < sum(float(leaf.abs().sum()) for leaf in second) < float("inf") else float("inf")
        moved = ([w + step * each for w, each in zip(weights, direction, strict=True)] for step in (1e-8, -1e-8))
        with torch.no_grad():
            differences = [(high - low) / 2e-8 for high, low in zip(*map(slopes, moved), strict=True)]
        scale = max(1.0, *(float(leaf.abs().max()) for leaf in (*differences, *second)))
        return max(float((one - other).abs().max()) for one, other in zip(differences, second, strict=True)) / scale

    generator = random_generator("kit", "direction")
    gaps: list[float] = []
    while len(gaps) < 3 and (not gaps or not min(gaps) <= 1e-3):  # a step across the corner of a ReLU proves nothing
        try:
            gaps.append(gap([torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in weights]))
        except RuntimeError as error:
            if not LACKING.search(one_line(error)):
                raise
            raise FailureError(f"{who()} has no second derivative: {one_line(error)[:200]}", cause) from None
    if not min(gaps) <= 1e-3:
        raise FailureError(f"{who()} has a second derivative that is off by {min(gaps):.3g} of its size", cause)


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
            case.registry.get("suite", case.source).resolve(dict(recipe.suite))
            for algorithm, settings in recipe.algorithms.items():
                if algorithm in case.registry.algorithms:
                    own = {key: value for key, value in settings.items() if key not in fields}
                    case.registry.get("algorithm", algorithm).resolve(own)
            for entry in case.registry.algorithms.values():
                entry.resolve({key: value for key, value in recipe.shared.items() if key in entry.parameters})
        except UserError as error:
            raise FailureError(f"recipe '{name}': {str(error).rstrip('.')}", cause) from None
        nobodys = set(recipe.shared) - {
            key for entry in case.registry.algorithms.values() for key in entry.parameters
        }
        if nobodys:
            raise FailureError(f"recipe '{name}' shares '{min(nobodys)}', which no algorithm has", cause)
        unknown = set(recipe.budget) - fields
        if unknown:
            raise FailureError(f"recipe '{name}' has no budget field '{min(unknown)}'", cause)


MODEL = ("samples", "shapes", "model-stateless")

CHECKS = (
    Check("model-stateless", model_stateless, ("samples", "shapes")),
    Check("model-seeded", model_seeded, ("model-stateless",)),
    Check("judges", judges, MODEL),
    Check("ways", ways, MODEL),
    Check("metric-direction", metric_direction, (*MODEL, "judges")),
    Check("batchable", batchable, MODEL),
    Check("twice-differentiable", twice_differentiable, (*MODEL, "batchable")),
    Check("recipes", recipes),
)
