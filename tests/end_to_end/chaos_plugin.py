"""Algorithms for the chaos test: one that logs each update, and three that misbehave."""

from __future__ import annotations

import copy
import os
import time
from contextlib import suppress

import torch

from metabench.api import hookimpl


class Logged:
    """Plain training on the tasks' points; writes a line an update to the file that CHAOS_LOG names."""

    trainable = True

    def __init__(self, problem, pause):
        self.problem, self.pause = problem, pause
        self.name = f"{type(self).__name__}-{problem.generator('name').initial_seed()}"
        self.weights = {name: weight.requires_grad_() for name, weight in problem.init().items()}
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=1e-3)
        self.log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def update(self, tasks, progress):
        with suppress(OSError):  # the disk may be full
            os.write(self.log, f"{self.name} {progress:.6f}\n".encode())
        time.sleep(self.pause)
        self.optimizer.zero_grad()
        loss = self.problem.loss(self.weights, type(tasks.query)(*(leaf.flatten(0, 1) for leaf in tasks.query)))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def adapt(self, support, steps):
        for _ in range(steps + 1):
            yield [lambda x: self.problem.apply(self.weights, x) for _ in support.x]

    def state_dict(self):
        return copy.deepcopy({"weights": self.weights, "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state):
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])


def logged(problem, *, pause: float = 0.008):
    """Logs its updates."""
    return Logged(problem, pause)


class Bad(Logged):
    """Misbehaves at its tenth update."""

    def update(self, tasks, progress):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 10:
            self.misbehave()
        return super().update(tasks, progress)


class Hanging(Bad):
    def misbehave(self):
        while True:
            time.sleep(1)


class Exiting(Bad):
    def misbehave(self):
        os._exit(3)


class Eating(Bad):
    def misbehave(self):
        self.eaten = []
        while True:
            self.eaten.append(torch.ones(25_000_000))
            time.sleep(0.02)


def hanging(problem, *, pause: float = 0.0):
    """Hangs."""
    return Hanging(problem, pause)


def exiting(problem, *, pause: float = 0.0):
    """Ends its process."""
    return Exiting(problem, pause)


def eating(problem, *, pause: float = 0.0):
    """Takes ever more memory."""
    return Eating(problem, pause)


@hookimpl
def register_algorithms():
    return {"logged": logged, "hanging": hanging, "exiting": exiting, "eating": eating}
