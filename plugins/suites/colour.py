"""What the suites of colour images share: their networks, and the settings that papers give for mini-ImageNet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from metabench.api import Recipe
from metabench_plugins.suites import backbones

Model = Literal["conv4", "resnet12", "resnet12-narrow"]


def network(model: Model, ways: int, filters: int, size: int) -> Callable[[], nn.Module]:
    """The function that makes a freshly initialised model for images of `size` pixels a side."""
    if model == "conv4":
        return functools.partial(backbones.conv_pool, ways, filters, 3, size)
    widths = backbones.RESNET12 if model == "resnet12" else backbones.RESNET12_NARROW
    return functools.partial(backbones.resnet12, ways, 3, widths)


MAML = (
    "MAML on mini-ImageNet: arXiv 1703.03400, appendix A.1 (32 filters, 4 tasks an update with 1 shot and 2 with 5), "
    "without its clipping of gradients, for every algorithm that has these settings; what differs for others stands "
    "with them (register_recipes, 'mini-imagenet')"
)


def colour_recipes(shots: int, source: str = "") -> dict[str, Recipe]:
    """`paper`, and `quick` for minutes on a CPU. `source` says whose settings they are where not of this suite."""
    shared = {"inner_lr": 0.01, "inner_steps": 5, "outer_lr": 1e-3, "train_lr": 1e-3}
    budget: dict[str, Any] = {
        "updates": 60_000,
        "meta_batch_size": 4 if shots < 5 else 2,
        "validations": 60,
        "validation_tasks": 200,
        "test_tasks": 600,
        "test_steps": 10,
    }
    quick = {"updates": 1_200, "meta_batch_size": 4, "validations": 6, "validation_tasks": 50, "test_tasks": 300}
    more = f"{MAML}. {source}".strip()
    return {
        "quick": Recipe(
            f"Fewer updates, tasks and test steps than in: {more} Larger inner steps, of no paper's: 0.03 (on "
            "CIFAR-FS, 1 shot, MAML has 36.8% after 400 updates, 33.2% with 0.01), and 0.1 for scratch and finetune.",
            suite={"filters": 32},
            budget={**budget, **quick, "test_steps": 3},
            algorithms={"scratch": {"inner_lr": 0.1}, "finetune": {"inner_lr": 0.1}},
            shared={**shared, "inner_lr": 0.03},
            like="mini-imagenet",
        ),
        "paper": Recipe(more, suite={"filters": 32}, budget=budget, shared=shared, like="mini-imagenet"),
    }
