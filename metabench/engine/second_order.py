"""Second derivatives that torch does not have: which layer lacks it, and which algorithms do without."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import torch
from torch import Tensor, nn

from metabench.api import Batch, Problem, Suite, Task
from metabench.api.autodiff import refuse_once_differentiable, watched
from metabench.api.collecting import collected
from metabench.api.trees import flatten, map_tree
from metabench.engine.build import build_suite
from metabench.engine.learner import adapt_fully, as_learner
from metabench.engine.problem import build_problem
from metabench.engine.state import TrialRun
from metabench.engine.tasks import training_tasks
from metabench.errors import one_line

LACKING = re.compile(
    r"derivative for .*backward.* is not implemented|differentiate twice|[Dd]ouble backward|once_differentiable"
)
"""What torch says of a derivative that is not differentiable again."""


def explained(run: TrialRun, error: BaseException) -> str:
    """What to say of an error that is about a second derivative: the layer, and what works; empty for another one."""
    if not LACKING.search(one_line(error)):
        return ""
    try:
        suite, execution = build_suite(run.registry, run.trial), run.execution
        problem = build_problem(suite, run.trial.seed, execution.device, run.dtype, run.trial.precision)
        task = map_tree(lambda leaf: leaf[:1].clone(), training_tasks(run, suite, 0))
        works = ", ".join(algorithms_that_run(run, suite, problem, task)) or "none that is installed"
        return (
            f"{lacking_layer(suite, problem, task)} has no second derivative in torch, and algorithm "
            f"'{run.trial.algorithm}' takes one ({one_line(error)[:200]}). Without it run: {works}."
        )
    except Exception:  # whatever it is, the first error is the one to show
        return ""


def lacking_layer(suite: Suite, problem: Problem, task: Task) -> str:
    """The innermost layer that cannot be differentiated twice, in words; the loss where it is none."""
    module, calls = problem.module(), []
    for name, layer in module.named_modules():
        layer.register_forward_hook(
            lambda layer, given, named, output, name=name: calls.append((name, layer, given, named)),
            with_kwargs=True,
        )
    suite.loss(module, collected(suite, module, Batch(task.support.x[0], task.support.y[0])))
    for name, layer, given, named in list(calls):
        try:
            differentiate_twice(layer, given, named)
        except Exception as error:
            if LACKING.search(one_line(error)):
                return f"Layer '{name}' ({type(layer).__name__})" if name else f"The model ({type(layer).__name__})"
    return "The loss of the suite"


@torch.enable_grad()
def differentiate_twice(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Take a second derivative of what a layer makes of such inputs; raises what torch does."""
    given, named = map_tree(as_leaf, (given, named))
    outputs = [leaf for leaf in flatten(layer(*given, **named))[0] if is_differentiable(leaf)]
    every = [*flatten((given, named))[0], *layer.parameters()]
    leaves = [leaf for leaf in every if isinstance(leaf, Tensor) and leaf.requires_grad]
    for _ in range(2):
        if not outputs or not leaves:
            return
        value = torch.stack([leaf.square().sum() for leaf in outputs]).sum()
        grads = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
        outputs = [leaf for leaf in grads if leaf is not None and leaf.requires_grad]
        refuse_once_differentiable(outputs)


def as_leaf(value: Any) -> Any:
    """A floating-point tensor that gradients can be taken by; anything else as it is."""
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().requires_grad_() if floating else value


def is_differentiable(value: Any) -> bool:
    """Whether a gradient can be taken of an output."""
    return isinstance(value, Tensor) and value.requires_grad


def algorithms_that_run(run: TrialRun, suite: Suite, problem: Problem, task: Task) -> list[str]:
    """The installed algorithms, at their defaults, that can be trained on the problem, or adapt where none is."""
    found = []
    token = watched.set(True)
    for name in sorted(run.registry.algorithms):
        # a stranger's code, which may fail in any way, and say what it likes
        silent, quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with contextlib.suppress(Exception, SystemExit), silent, quiet:
            entry = run.registry.get("algorithm", name)
            learner = as_learner(entry.factory(problem, **entry.resolve({})), "threaded", suite=suite)
            if learner.trainable:
                learner.update(map_tree(torch.clone, task), 0.0)
            with torch.no_grad():
                adapt_fully(learner, task.support, 1)
            found.append(name)
    watched.reset(token)
    return found
