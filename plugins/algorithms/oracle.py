"""The policy that is told what it would have to find out: how good a policy for each task could be."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Meta,
    NotApplicableError,
    Params,
    Problem,
    Rate,
    Task,
    hookimpl,
    map_tree,
)


def oracle(problem: Problem, *, train_lr: Rate = 1e-3) -> Algorithm:
    """One policy for all tasks that is told which one it is in, beside what it sees. It does not adapt.

    An upper reference, not a competitor: the oracle of Finn et al. 2017, arXiv 1703.03400, section 5.3. What it is
    told enters its first layer. Raises NotApplicableError where the suite tells nothing.

    Args:
        train_lr: Learning rate of Adam, which trains the policy on all trajectories of the tasks.
    """
    told = problem.acting.told if problem.acting else None
    if told is None:
        raise NotApplicableError("the suite has nothing to tell an oracle")
    path, facts = next(iter(problem.layers)), problem.acting.facts if problem.acting else 0
    wide = problem.wrap(lambda module: informed(module, path, facts))
    name = f"{path}.told"

    def start(meta: Meta, support: Batch) -> Params:
        return {name: told(support)}

    inner = InnerLoop(start, lambda meta, fast, support, i: fast, lambda meta, fast, x: wide.apply(meta | fast, x))

    def objective(meta: Params, task: Task, progress: float) -> Tensor:
        every = map_tree(lambda support, query: torch.cat([support, query]), task.support, task.query)
        return wide.loss(meta | start(meta, task.support), every)

    return Algorithm(wide.init, inner, objective, optimizer=partial(Adam, lr=train_lr))


class Informed(nn.Module):
    """A layer to whose outputs (..., o) something is added that depends on what is told, a vector."""

    def __init__(self, layer: nn.Module, facts: int) -> None:
        super().__init__()
        *_, last = layer.parameters()
        self.layer = layer
        self.told = nn.Parameter(torch.zeros(facts))
        self.entry = nn.Linear(facts, len(last), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        outputs: Tensor = self.layer(x) + self.entry(self.told)
        return outputs


def informed(module: nn.Module, path: str, facts: int) -> nn.Module:
    """The module, what is told beside the outputs of the layer of that name."""
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, Informed(module.get_submodule(path), facts))
    return module


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"oracle": oracle}
