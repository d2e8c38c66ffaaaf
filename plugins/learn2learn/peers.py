"""learn2learn's own algorithms behind the Learner interface: the peer to compare with, in our harness.

Arnold et al. 2020, "learn2learn: A Library for Meta-Learning Research", arXiv 2008.12284.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metabench.api import (
    AlgorithmFactory,
    Batch,
    Learner,
    NotApplicableError,
    PackageRecipes,
    Predict,
    Problem,
    Rate,
    Steps,
    Task,
    hookimpl,
    minibatch,
    requires,
    step_size,
)

needs_learn2learn = requires(
    "learn2learn",
    "pip install 'metabench[learn2learn]' && pip install --no-deps --no-build-isolation --use-pep517 "
    "--config-settings=--global-option=build_ext learn2learn==0.2.0",
)
"""Built from its .pyx, since its C files no longer compile; alone, since it does not use all that it names."""


@needs_learn2learn
def l2l_maml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Learner:
    """learn2learn's MAML, second order (learn2learn.algorithms.MAML).

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    wrapper = algorithms().MAML(problem.module(), lr=inner_lr, first_order=False)
    return Peer(problem, wrapper, inner_steps, outer_lr)


@needs_learn2learn
def l2l_fomaml(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Learner:
    """learn2learn's MAML, first order (learn2learn.algorithms.MAML, first_order=True).

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    wrapper = algorithms().MAML(problem.module(), lr=inner_lr, first_order=True)
    return Peer(problem, wrapper, inner_steps, outer_lr)


@needs_learn2learn
def l2l_metasgd(problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3) -> Learner:
    """learn2learn's Meta-SGD: a learnt step size for every weight.

    Args:
        inner_lr: Step size of every weight before meta-training.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    module = problem.module()
    if tied := dict(module.named_parameters(remove_duplicate=False)).keys() - dict(module.named_parameters()).keys():
        raise NotApplicableError(f"learn2learn's Meta-SGD mixes up the rates of tied weights ('{min(tied)}')")
    wrapper = algorithms().MetaSGD(module, lr=inner_lr)
    return Peer(problem, wrapper, inner_steps, outer_lr)


@needs_learn2learn
def l2l_metacurvature(
    problem: Problem, *, inner_lr: Rate = 0.01, inner_steps: Steps = 1, outer_lr: Rate = 1e-3
) -> Learner:
    """learn2learn's Meta-Curvature (learn2learn.algorithms.GBML with its MetaCurvatureTransform).

    Args:
        inner_lr: Step size of the inner loop.
        inner_steps: Inner steps on the support set in training.
        outer_lr: Learning rate of Adam, the outer optimizer.
    """
    gbml = algorithms().GBML
    from learn2learn.optim.transforms import MetaCurvatureTransform

    module = problem.module()
    wrapper = gbml(module, transform=MetaCurvatureTransform, lr=inner_lr)
    return Peer(problem, wrapper.to(next(module.parameters())), inner_steps, outer_lr)


def algorithms() -> Any:
    """`learn2learn.algorithms`, imported when first needed: it takes seconds, and its gym talks on stderr."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import learn2learn.algorithms

    return learn2learn.algorithms


class Peer:
    """A Learner around a learn2learn wrapper: its training loop as learn2learn's examples write it."""

    trainable = True

    def __init__(self, problem: Problem, wrapper: nn.Module, inner_steps: int, outer_lr: float) -> None:
        self.problem = problem
        self.wrapper: Any = wrapper
        self.inner_steps = inner_steps
        self.optimizer = torch.optim.Adam(wrapper.parameters(), lr=outer_lr)

    def update(self, tasks: Task, progress: float) -> Tensor:
        """See Learner."""
        self.optimizer.zero_grad()
        count = len(tasks.support.x)
        total = torch.zeros((), device=tasks.support.x.device)
        for task in each(tasks):
            learner = self.wrapper.clone()
            for i in range(self.inner_steps):
                part = minibatch(task.support, self.problem.step_points, i)
                learner.adapt(step_size(self.problem, 1.0, i) * self.problem.criterion(learner, part))
            loss = self.problem.criterion(learner, task.query) / count
            torch.autograd.backward(loss)
            total += loss.detach()
        self.optimizer.step()
        return total

    def adapt(self, support: Batch, steps: int) -> Iterator[Sequence[Predict]]:
        """See Learner; first order suffices, since nothing is trained here."""
        supports = [Batch(x, y) for x, y in zip(support.x, support.y, strict=True)]
        with torch.enable_grad():
            learners = [self.wrapper.clone() for _ in supports]
        yield learners
        for i in range(steps):
            for learner, batch in zip(learners, supports, strict=True):
                part = minibatch(batch, self.problem.step_points, i)
                with torch.enable_grad():
                    loss = step_size(self.problem, 1.0, i) * self.problem.criterion(learner, part)
                    learner.adapt(loss, first_order=True)
            yield learners

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return copy.deepcopy({"wrapper": self.wrapper.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        self.wrapper.load_state_dict(state["wrapper"])
        self.optimizer.load_state_dict(state["optimizer"])


def each(tasks: Task) -> Iterator[Task]:
    """Task by task."""
    for support_x, support_y, query_x, query_y in zip(*tasks.support, *tasks.query, strict=True):
        yield Task(Batch(support_x, support_y), Batch(query_x, query_y))


@hookimpl
def register_algorithms() -> dict[str, AlgorithmFactory]:
    return {
        "l2l-maml": l2l_maml,
        "l2l-fomaml": l2l_fomaml,
        "l2l-metasgd": l2l_metasgd,
        "l2l-metacurvature": l2l_metacurvature,
    }


@hookimpl
def register_recipes() -> PackageRecipes:
    """No more steps than step sizes were learnt for, as our own have."""
    one_step = {"test_steps": 1}
    return {
        ("sinusoid", "*"): {"l2l-metasgd": one_step, "l2l-metacurvature": one_step},
        ("omniglot", "*"): {"l2l-metasgd": {"inner_lr": 0.1, "inner_steps": 1, **one_step}},
        ("mini-imagenet", "*"): {
            "l2l-metasgd": {"inner_steps": 1, **one_step},
            "l2l-metacurvature": {"test_steps": 5},
        },
        ("mini-imagenet", "paper"): {"l2l-metasgd": {"inner_lr": 0.01}},
    }
