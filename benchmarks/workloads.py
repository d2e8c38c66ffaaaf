"""The work that every contender does: networks, tasks and initial weights, as arrays in one file.

Needs NumPy alone, but for making the initial weights: contenders without torch read the file too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
"""`support_x` (tasks, s, ...), `support_y` (tasks, s, ...), `query_x`, `query_y` and `weight/NAME`, by name."""

SEED = 20_240_229
WEIGHT = "weight/"
CONVOLUTIONS = 4.0
"""What the initial weights of convolutions are multiplied by. BatchNorm takes it out of the outputs, but the
curvature shrinks by its square: at Xavier's own weights float32 gets the meta-gradient through five steps wrong by up
to a tenth, whoever computes it, because one ReLU that switches changes it visibly. The work is the same."""


class Workload(NamedTuple):
    """One meta-update, repeated: an algorithm with its parameters on a fixed batch of tasks."""

    name: str
    algorithm: str
    """`maml` (second order), `fomaml` or `reptile` (full-batch gradient descent on the support set)."""
    network: str
    """See `network`."""
    tasks: int
    ways: int
    """Classes; 0 for regression."""
    shots: int
    """Support points of a class, or of a regression task."""
    queries: int
    """Query points of a class, or of a regression task."""
    image_size: int
    channels: int
    inner_lr: float
    inner_steps: int
    filters: int = 0
    """Of each convolution of `conv_strided` and `conv_pool`."""
    rematerialised: bool = False
    """Whether metabench with `rematerialise` takes part too."""
    few: bool = False
    """Whether only the main and the patient contenders take part: an update takes seconds."""

    @property
    def id(self) -> str:
        """Unique, and fit for a file's name."""
        return f"{self.name}-{self.algorithm}"


def sinusoid(algorithm: str, steps: int) -> Workload:
    """10-shot regression with two hidden layers of 40 (MAML, arXiv 1703.03400, section 5.1)."""
    return Workload("sinusoid", algorithm, "mlp", 25, 0, 10, 10, 0, 1, 0.01, steps)


def omniglot(algorithm: str, steps: int) -> Workload:
    """5-way 1-shot, 64 strided filters, 32 tasks (MAML, section 5.2 and appendix A.1)."""
    return Workload("omniglot-5w1s", algorithm, "conv_strided", 32, 5, 1, 15, 28, 1, 0.4, steps, 64)


def omniglot20(algorithm: str) -> Workload:
    """20-way 5-shot with five inner steps (MAML, appendix A.1, which takes one step of 0.1)."""
    return Workload("omniglot-20w5s", algorithm, "conv_strided", 4, 20, 5, 5, 28, 1, 0.1, 5, 64, few=True)


def miniimagenet(algorithm: str) -> Workload:
    """5-way 1-shot on 84x84 colour images, 32 filters, max-pooling, five inner steps (MAML, section 5.2)."""
    return Workload("miniimagenet-5w1s", algorithm, "conv_pool", 4, 5, 1, 15, 84, 3, 0.01, 5, 32, few=True)


def omniglot_mlp(algorithm: str) -> Workload:
    """5-way 1-shot by the network without convolutions: 256-128-64-64 (MAML, section 5.2)."""
    return Workload("omniglot-5w1s-mlp", algorithm, "mlp_normalised", 32, 5, 1, 15, 28, 1, 0.4, 1)


def cifar(algorithm: str) -> Workload:
    """5-way 1-shot on 32x32 colour images, 64 filters, max-pooling, five inner steps (as on CIFAR-FS and FC100)."""
    return Workload("cifar-5w1s", algorithm, "conv_pool", 4, 5, 1, 15, 32, 3, 0.01, 5, 64, few=True)


def residual(algorithm: str) -> Workload:
    """5-way 1-shot on 32x32 colour images by ResNet-12, one inner step, two tasks."""
    return Workload("resnet12-5w1s", algorithm, "resnet12", 2, 5, 1, 5, 32, 3, 0.01, 1, few=True)


WORKLOADS = (
    sinusoid("maml", 1),
    sinusoid("fomaml", 1),
    sinusoid("reptile", 5),
    omniglot("maml", 1),
    omniglot("fomaml", 1),
    omniglot("reptile", 5),
    omniglot20("maml"),
    miniimagenet("maml"),
    omniglot("maml", 5)._replace(name="omniglot-5w1s-5steps", rematerialised=True, few=True),
    omniglot_mlp("maml"),
    cifar("maml"),
    residual("maml"),
)


def network(workload: Workload) -> Any:
    """The torch module of a workload, freshly initialised from a fixed seed."""
    import torch

    from benchmarks.residual import resnet12
    from metabench_plugins.suites.backbones import FULLY_CONNECTED, conv_pool, conv_strided, mlp, mlp_normalised

    ways, filters, channels, size = workload.ways, workload.filters, workload.channels, workload.image_size
    networks = {
        "mlp": lambda: mlp(1, (40, 40), 1),
        "mlp_normalised": lambda: mlp_normalised(channels * size * size, FULLY_CONNECTED, ways),
        "conv_strided": lambda: conv_strided(ways, filters, channels),
        "conv_pool": lambda: conv_pool(ways, filters, channels, size),
        "resnet12": lambda: resnet12(ways, channels),
    }
    torch.manual_seed(SEED)
    return networks[workload.network]()


def make_arrays(workload: Workload) -> Arrays:
    """Tasks and initial weights, float32; the same at every call."""
    generator = np.random.default_rng(SEED)
    points = [(sines if workload.ways == 0 else images)(workload, generator) for _ in range(workload.tasks)]
    names = ("support_x", "support_y", "query_x", "query_y")
    arrays = {name: np.stack(column) for name, column in zip(names, zip(*points))}
    for name, weight in network(workload).named_parameters():
        scale = CONVOLUTIONS if weight.dim() == 4 or name.startswith("conv") else 1.0
        arrays[WEIGHT + name] = (scale * weight.detach().numpy()).astype(np.float32)
    return arrays


def sines(workload: Workload, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One regression task: amplitude * sin(x - phase) at x in [-5, 5]."""
    amplitude, phase = generator.uniform(0.1, 5), generator.uniform(0, np.pi)
    x = generator.uniform(-5, 5, (workload.shots + workload.queries, 1)).astype(np.float32)
    y = (amplitude * np.sin(x - phase)).astype(np.float32)
    return x[: workload.shots], y[: workload.shots], x[workload.shots :], y[workload.shots :]


def images(workload: Workload, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One classification task: images in [0, 1], each half its class's own image and half noise."""
    shape = (workload.channels, workload.image_size, workload.image_size)
    classes = generator.random((workload.ways, *shape))
    parts: list[np.ndarray] = []
    for count in (workload.shots, workload.queries):
        labels = np.repeat(np.arange(workload.ways), count)
        noise = generator.random((len(labels), *shape))
        parts += [((classes[labels] + noise) / 2).astype(np.float32), labels]
    return tuple(parts)


def save(workload: Workload, path: Path) -> Arrays:
    """Write a workload's arrays and its description to a .npz file; returns the arrays."""
    arrays = make_arrays(workload)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, workload=np.array(json.dumps(workload._asdict())), **arrays)
    return arrays


def load(path: Path) -> tuple[Workload, Arrays]:
    """What `save` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "workload"}
        return Workload(**json.loads(str(file["workload"]))), arrays


def weights_of(arrays: Arrays) -> dict[str, np.ndarray]:
    """The initial weights by the name that the torch module gives them."""
    return {name.removeprefix(WEIGHT): each for name, each in arrays.items() if name.startswith(WEIGHT)}
