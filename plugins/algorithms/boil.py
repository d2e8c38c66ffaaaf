"""BOIL: body only in the inner loop; adaptation moves everything but the last layer."""

from __future__ import annotations

from functools import partial

from torch.optim import Adam

from metabench.api import (
    Algorithm,
    AlgorithmFactory,
    NotApplicableError,
    PackageRecipes,
    Problem,
    Rate,
    Steps,
    hookimpl,
    partial_sgd,
    query_loss,
)


def boil(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Algorithm:
    """MAML, second order, whose inner loop moves the body: the representation changes, the head does not.

    Oh et al. 2021, arXiv 2008.08882, section 3. The paper is about classification. Raises NotApplicableError for a
    model that is nothing but a head.

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    body = [name for name in problem.init() if name not in problem.head]
    if not body:
        raise NotApplicableError("it needs a model with a layer before the last one")
    inner = partial_sgd(problem, inner_lr, body)
    objective = query_loss(problem, inner, inner_steps)
    return Algorithm(problem.init, inner, objective, optimizer=partial(Adam, lr=outer_lr))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {"boil": boil}


@hookimpl
def register_recipes() -> PackageRecipes:
    """The settings for mini-ImageNet of the authors' code, arXiv 2008.08882, which has no Omniglot."""
    boil = {"inner_lr": 0.5, "inner_steps": 1, "meta_batch_size": 4, "test_steps": 1}
    return {
        ("omniglot", "*"): {"boil": boil},
        ("omniglot", "paper"): {"boil": {"updates": 30_000}},
        ("mini-imagenet", "*"): {"boil": boil},
        ("mini-imagenet", "paper"): {"boil": {"updates": 30_000}},
    }
