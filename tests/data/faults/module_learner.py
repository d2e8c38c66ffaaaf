"""A Learner as a newcomer writes it: an nn.Module, an optimizer in the inner loop, a loss that may keep its graph."""

import copy
from contextlib import nullcontext

import torch
from torch import nn

from metabench.api import Batch, hookimpl


class Plain(nn.Module):
    trainable = True

    def __init__(self, problem, lr, detach, enable_grad):
        super().__init__()
        self.net = problem.module()
        self.problem, self.lr, self.detach, self.enable_grad = problem, lr, detach, enable_grad
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3)

    def inner(self, support, steps):
        net = copy.deepcopy(self.net)
        optimizer = torch.optim.SGD(net.parameters(), self.lr)
        for _ in range(steps):
            optimizer.zero_grad()
            self.problem.criterion(net, support).backward()
            optimizer.step()
        return net

    def update(self, tasks, progress):
        self.optimizer.zero_grad()
        losses = [self.problem.criterion(self.net, Batch(x, y)) for x, y in zip(tasks.query.x, tasks.query.y)]
        loss = torch.stack(losses).mean()
        loss.backward(retain_graph=not self.detach)
        self.optimizer.step()
        return loss.detach() if self.detach else loss

    def adapt(self, support, steps):
        for k in range(steps + 1):
            with torch.enable_grad() if self.enable_grad else nullcontext():
                nets = [self.inner(Batch(x, y), k) for x, y in zip(support.x, support.y)]
            yield nets


def plain(problem, *, lr: float = 0.01, detach: bool = True, enable_grad: bool = True):
    """Joint training, adapted with torch.optim.SGD.

    Args:
        lr: Step size of the inner loop.
        detach: Return the loss of an update without its graph.
        enable_grad: Switch gradients on while adapting, which the engine does not.
    """
    return Plain(problem, lr, detach, enable_grad)


@hookimpl
def register_algorithms():
    return {"plain": plain}
