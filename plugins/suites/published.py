"""The published settings for Omniglot, which `glyphs` borrows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metabench.api import Recipe

SOURCE = (
    "MAML: arXiv 1703.03400, appendix A.1. Reptile: arXiv 1803.02999, appendix A; it trains on 10 shots "
    "a class, here on the suite's own shots. ANIL: MAML's settings, as in arXiv 1909.09157, which has 20 ways; for 5 "
    "ways with 5 steps too, one step of the head being too little. Meta-SGD: arXiv "
    "1707.09835, first step size from its range. MAML++ (arXiv 1810.09502): the authors' configuration for 5 "
    "steps, which differentiates the inner steps from the start; its network pools, this suite's `conv` does not. "
    "iMAML: arXiv 1909.04630, Table 2, rates and damping from its code. BOIL and CAVIA have no Omniglot: their mini-"
    "ImageNet settings, arXiv 2008.08882 (code) and 1810.03642 (code). "
    "scratch and finetune are not in these papers: MAML's inner step size and test steps."
)

THIRD_BLOCK = -3
"""Among the layers before the head of four blocks of convolution and BatchNorm: the third block's BatchNorm."""

OTHERS = (
    "Meta-Curvature and T-Nets: MAML's settings, which they build on. ProtoMAML has no Omniglot of its own: one "
    "step of a size tried on glyphs, where the authors' six of 0.3 for Meta-Dataset train badly. Prototypical "
    "networks: arXiv 1703.05175, section 3.1, without its halving of the rate and on the suite's own ways. R2-D2: "
    "arXiv 1805.08136, section 4.2, likewise."
)

QUICK_CAVIA = (
    "CAVIA modulates the last block, in steps of 10: with its published ones it needs more updates than a quick run "
    "has to do better than no training."
)

QUICK_REPTILE = "Reptile takes inner steps ten times the published ones, which are meant for 100,000 updates."

QUICK = {"validations": 5, "validation_tasks": 60}
"""How a quick run is validated."""


def omniglot_recipes(ways: int, quick: Mapping[str, Any]) -> dict[str, Recipe]:
    """`paper`, and `quick` with the budget fields of `quick` instead and, but for two, the same hyper-parameters.

    The papers give settings for 5 and for 20 ways; from 10 ways up a suite gets those for 20.
    """
    many = ways >= 10
    few_or_many = "20-way" if many else "5-way"
    paper = {
        "updates": 60_000,
        "meta_batch_size": 16 if many else 32,
        "validations": 60,
        "validation_tasks": 200,
        "test_tasks": 600,
        "test_steps": 5 if many else 3,
    }
    algorithms = settings(many)
    shorter = {
        name: {field: value for field, value in values.items() if field != "updates"}
        for name, values in algorithms.items()
    }
    shorter["cavia"] |= {"inner_lr": 10.0, "layer": -1}
    shorter["reptile"] |= {"inner_lr": 10 * shorter["reptile"]["inner_lr"]}
    sources = f"Fewer updates than {few_or_many} in {SOURCE} {OTHERS} {QUICK_CAVIA} {QUICK_REPTILE}"
    return {
        "quick": Recipe(sources, {}, {**paper, **quick}, shorter),
        "paper": Recipe(f"{few_or_many} settings. {SOURCE} {OTHERS}", {}, paper, algorithms),
    }


def settings(many: bool) -> dict[str, dict[str, Any]]:
    """By algorithm, for 20 ways (many) or 5: its parameters and the fields of the budget that differ for it."""
    maml = {"inner_lr": 0.1 if many else 0.4, "inner_steps": 5 if many else 1, "outer_lr": 1e-3}
    metasgd = {"inner_lr": 0.1, "inner_steps": 1, "outer_lr": 1e-3, "test_steps": 1}
    reptile_settings = (
        reptile(inner_lr=5e-4, inner_steps=10, batch_size=20) | {"updates": 200_000}
        if many
        else reptile(inner_lr=1e-3, inner_steps=5, batch_size=10) | {"updates": 100_000}
    )
    return {
        **dict.fromkeys(("maml", "fomaml", "l2l-maml", "l2l-fomaml"), maml),
        "anil": {**maml, "inner_steps": 5, "test_steps": 5},
        **dict.fromkeys(("metasgd", "l2l-metasgd"), metasgd),
        **relatives(imaml_steps=25 if many else 16),
        **others(maml),
        "reptile": reptile_settings,
        "scratch": {"inner_lr": maml["inner_lr"]},
        "finetune": {"inner_lr": maml["inner_lr"], "train_lr": 1e-3},
    }


def others(maml: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Metric learners, closed forms and learnt preconditioners; see OTHERS."""
    return {
        **dict.fromkeys(("metacurvature", "l2l-metacurvature", "tnet", "torchopt-maml"), maml),
        "protomaml": {"inner_lr": 0.1, "inner_steps": 1, "outer_lr": 1e-3},
        "protonet": {"outer_lr": 1e-3},
        "r2d2": {"outer_lr": 5e-3},
    }


def relatives(imaml_steps: int) -> dict[str, dict[str, Any]]:
    """Of MAML, each with settings of its own: as many inner steps in training as in the test."""
    return {
        "boil": {
            "inner_lr": 0.5,
            "inner_steps": 1,
            "outer_lr": 1e-3,
            "updates": 30_000,
            "meta_batch_size": 4,
            "test_steps": 1,
        },
        "cavia": {
            "inner_lr": 1.0,
            "inner_steps": 2,
            "outer_lr": 1e-3,
            "context": 100,
            "layer": THIRD_BLOCK,
            "meta_batch_size": 16,
            "test_steps": 2,
        },
        "imaml": {
            "inner_lr": 0.1,
            "inner_steps": imaml_steps,
            "outer_lr": 1e-3,
            "proximal": 2.0,
            "cg_steps": 5,
            "damping": 22.0,
            "updates": 20_000,
            "test_steps": imaml_steps,
        },
        "maml++": {
            "inner_lr": 0.1,
            "inner_steps": 5,
            "outer_lr": 1e-3,
            "last_outer_lr": 1e-5,
            "multi_step": 0.1,
            "first_order": 0.0,
            "updates": 50_000,
            "meta_batch_size": 8,
            "test_steps": 5,
        },
    }


def reptile(inner_lr: float, inner_steps: int, batch_size: int) -> dict[str, Any]:
    """What its two settings share: inner Adam, an outer step from 1 to 0, 5 tasks, 50 test steps."""
    return {
        "inner_optimizer": "adam",
        "inner_lr": inner_lr,
        "inner_steps": inner_steps,
        "batch_size": batch_size,
        "outer_lr": 1.0,
        "meta_batch_size": 5,
        "test_steps": 50,
    }
