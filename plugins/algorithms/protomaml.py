"""ProtoMAML: MAML whose linear head starts at the prototypes of the task's classes."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    NotApplicableError,
    PackageRecipes,
    Params,
    Problem,
    Rate,
    Steps,
    hookimpl,
    query_loss,
    sgd,
)
from metabench_plugins.algorithms.embeddings import body_of, class_means, ways_of


def protomaml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML from the head 2c, -|c|^2 of the class means c: before the first step it is a prototypical network.

    The body is learnt, through the inner steps and through the prototypes; the head is not. Triantafillou et al.
    2020, arXiv 1903.03096, section 3 (Proto-MAML).

    Args:
        inner_lr: Step size of the inner loop, which moves body and head.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    ways = ways_of(problem)
    body = body_of(problem)
    weight, bias = linear_head(problem, ways)

    def start(meta: Params, support: Batch) -> Params:
        centres = class_means(body.apply(meta, support.x), support.y, ways)
        return {**meta, weight: 2 * centres, bias: -centres.square().sum(1)}

    inner = sgd(problem, inner_lr)._replace(start=start)
    objective = query_loss(problem, inner, inner_steps)
    return Algorithm(body.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


def linear_head(problem: Problem, ways: int) -> tuple[str, str]:
    """The names of the head's weight (ways, d) and bias; raises NotApplicableError where it has not just these."""
    weights = problem.init()
    tied = [name for name in problem.head if sum(name in own for own in problem.layers.values()) > 1]
    if tied or [(len(weights[name]), weights[name].dim()) for name in problem.head] != [(ways, 2), (ways, 1)]:
        raise NotApplicableError(f"it needs a linear last layer of its own weights, with a bias and {ways} outputs")
    return problem.head[0], problem.head[1]


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"protomaml": protomaml}


@hookimpl
def register_recipes() -> PackageRecipes:
    """One step of a size that was tried on glyphs, where the authors' six of 0.3 for Meta-Dataset train badly."""
    one = {"protomaml": {"inner_lr": 0.1, "inner_steps": 1}}
    return {("omniglot", "*"): one, ("mini-imagenet", "*"): one}
