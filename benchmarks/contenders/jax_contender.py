"""Plain JAX: the networks, the algorithms and Adam by hand. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contenders import Unsupported
from benchmarks.workloads import Arrays, Workload, weights_of

Weights = dict[str, jax.Array]
Points = tuple[jax.Array, jax.Array]

EPSILON = 1e-3
"""What BatchNorm adds to a variance, as in metabench_plugins.suites.backbones."""


class Jax:
    """The weights and Adam's moments, and an update of them; XLA's own threads, one a core."""

    def __init__(self, workload: Workload, arrays: Arrays, threads: int) -> None:
        self.workload = workload
        self.initial = {name: jnp.asarray(each) for name, each in weights_of(arrays).items()}
        names = ("support_x", "support_y", "query_x", "query_y")
        support_x, support_y, query_x, query_y = (jnp.asarray(arrays[name]) for name in names)
        self.tasks = ((support_x, support_y), (query_x, query_y))
        self.state = self.start()
        forward = FORWARDS[workload.network]
        descend = partial(inner, workload, forward)
        self.step = self.compiled(direction(workload, forward))
        self.outputs = jax.jit(lambda weights, support, x: forward(descend(weights, support), x))

    def compiled(self, one: Callable[..., Weights]) -> Callable[[Any], tuple[Any, Weights]]:
        """From one task's direction the whole update: state to new state and mean direction."""
        raise NotImplementedError

    def start(self) -> Any:
        """The initial weights, Adam's two moments and its count of steps."""
        zeros = jax.tree.map(jnp.zeros_like, self.initial)
        return self.initial, zeros, zeros, jnp.zeros((), jnp.int32)

    def gradient(self) -> dict[str, np.ndarray]:
        """See Contender; an output of the update itself."""
        _, means = self.step(self.start())
        return {name: np.asarray(each) for name, each in means.items()}

    def update(self) -> None:
        """See Contender."""
        self.state, _ = jax.block_until_ready(self.step(self.state))

    def adapt(self) -> np.ndarray:
        """See Contender."""
        (support_x, support_y), (query_x, _) = self.tasks
        return np.asarray(self.outputs(self.state[0], (support_x[0], support_y[0]), query_x[0]))


class Vmap(Jax):
    """All tasks in one vmap, the whole update in one jit."""

    def compiled(self, one: Callable[..., Weights]) -> Callable[[Any], tuple[Any, Weights]]:
        """See Jax."""
        if self.workload.network != "mlp":
            raise Unsupported("weights of a task's own make XLA's convolutions slow on a CPU: see JAX loop")

        def update(state: Any, tasks: Any) -> tuple[Any, Weights]:
            each = jax.vmap(one, in_axes=(None, 0))(state[0], tasks)
            means = jax.tree.map(lambda leaf: leaf.mean(0), each)
            return moved(self.workload, state, means), means

        return partial(jax.jit(update), tasks=self.tasks)


class Loop(Jax):
    """One jit for a task's direction, called task by task: under vmap XLA's convolutions on a CPU are slow."""

    def compiled(self, one: Callable[..., Weights]) -> Callable[[Any], tuple[Any, Weights]]:
        """See Jax."""
        count = self.workload.tasks
        tasks = [jax.tree.map(lambda leaf, i=i: leaf[i], self.tasks) for i in range(count)]
        add = jax.jit(lambda sums, weights, task: jax.tree.map(jnp.add, sums, one(weights, task)))
        zeros = jax.tree.map(jnp.zeros_like, self.initial)

        @jax.jit
        def finish(state: Any, sums: Weights) -> tuple[Any, Weights]:
            means = jax.tree.map(lambda leaf: leaf / count, sums)
            return moved(self.workload, state, means), means

        def update(state: Any) -> tuple[Any, Weights]:
            sums = zeros
            for task in tasks:
                sums = add(sums, state[0], task)
            return finish(state, sums)

        return update


def mlp(weights: Weights, x: jax.Array) -> jax.Array:
    """Two hidden layers with ReLU: (s, 1) to (s, 1)."""
    for layer in ("linear1", "linear2"):
        x = jax.nn.relu(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
    return head(weights, x)


def head(weights: Weights, x: jax.Array) -> jax.Array:
    """The last layer."""
    return x @ weights["head.weight"].T + weights["head.bias"]


def convolution(weights: Weights, number: int, x: jax.Array, stride: int) -> jax.Array:
    """3x3 convolution, BatchNorm over the batch, ReLU: (s, channels, height, width)."""
    x = lax.conv_general_dilated(x, weights[f"conv{number}.weight"], (stride, stride), ((1, 1), (1, 1)))
    x = x + weights[f"conv{number}.bias"][:, None, None]
    centred = x - x.mean((0, 2, 3), keepdims=True)
    variance = (centred * centred).mean((0, 2, 3), keepdims=True)
    scaled = centred * lax.rsqrt(variance + EPSILON) * weights[f"norm{number}.weight"][:, None, None]
    return jax.nn.relu(scaled + weights[f"norm{number}.bias"][:, None, None])


def conv_strided(weights: Weights, x: jax.Array) -> jax.Array:
    """Four convolutions with stride 2, the mean over space, linear."""
    for number in range(1, 5):
        x = convolution(weights, number, x, 2)
    return head(weights, x.mean((2, 3)))


def conv_pool(weights: Weights, x: jax.Array) -> jax.Array:
    """Four convolutions, each max-pooled by 2, linear."""
    for number in range(1, 5):
        x = convolution(weights, number, x, 1)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return head(weights, x.reshape(len(x), -1))


FORWARDS = {"mlp": mlp, "conv_strided": conv_strided, "conv_pool": conv_pool}


def loss(forward: Callable[..., jax.Array], weights: Weights, points: Points) -> jax.Array:
    """Mean squared error for real targets, mean cross-entropy for class indices."""
    x, y = points
    outputs = forward(weights, x)
    if jnp.issubdtype(y.dtype, jnp.floating):
        return ((outputs - y) ** 2).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1).mean()


def inner(workload: Workload, forward: Callable[..., jax.Array], weights: Weights, support: Points) -> Weights:
    """The weights after the inner steps."""
    for _ in range(workload.inner_steps):
        slopes = jax.grad(partial(loss, forward))(weights, support)
        weights = jax.tree.map(lambda weight, slope: weight - workload.inner_lr * slope, weights, slopes)
    return weights


def direction(workload: Workload, forward: Callable[..., jax.Array]) -> Callable[..., Weights]:
    """One task's direction at given weights: `(weights, (support, query)) -> tree`."""
    descend, judge = partial(inner, workload, forward), partial(loss, forward)
    if workload.algorithm == "maml":
        return jax.grad(lambda weights, task: judge(descend(weights, task[0]), task[1]))
    if workload.algorithm == "fomaml":
        return lambda weights, task: jax.grad(judge)(descend(weights, task[0]), task[1])
    return lambda weights, task: jax.tree.map(jnp.subtract, weights, descend(weights, task[0]))


def moved(workload: Workload, state: Any, means: Weights) -> Any:
    """The state after one step of Adam against a direction (Reptile: the whole of it)."""
    weights, first, second, count = state
    if workload.algorithm == "reptile":
        return jax.tree.map(jnp.subtract, weights, means), first, second, count
    count = count + 1
    first = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, first, means)
    second = jax.tree.map(lambda old, new: 0.999 * old + 0.001 * new * new, second, means)

    def step(weight: jax.Array, one: jax.Array, two: jax.Array) -> jax.Array:
        return weight - 1e-3 * one / (1 - 0.9**count) / (jnp.sqrt(two / (1 - 0.999**count)) + 1e-8)

    return jax.tree.map(step, weights, first, second), first, second, count
